"""Every metric by its name: its kind, labels, and what it means. docs/metrics.md is written from this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric; ``name`` is as it is queried. A histogram is queried with _bucket, _sum and _count behind it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


METRICS = (
    Metric("pacsnode_build_info", "gauge", ("version", "sqlite"), "Always 1; the labels tell the versions."),
    Metric("pacsnode_ready", "gauge", (), "1 while /readyz says so: the node takes instances and is not stopping."),
    Metric("pacsnode_degraded", "gauge", (), "Number of reasons that pacsnode status names as degraded."),
    Metric("pacsnode_associations_active", "gauge", ("role",), "Associations that are open; role is acceptor."),
    Metric(
        "pacsnode_associations_total",
        "counter",
        ("result", "reason"),
        "Associations asked for: accepted or rejected, and why.",
    ),
    Metric("pacsnode_pdu_errors_total", "counter", ("kind",), "Associations aborted because the peer broke PS3.8."),
    Metric(
        "pacsnode_dimse_operations_total",
        "counter",
        ("op", "status_class", "ae"),
        "Operations answered; ae is the AE title of a configured peer (the first 199), else other.",
    ),
    Metric(
        "pacsnode_dimse_duration_seconds", "histogram", ("op",), "Time from the request to the last byte of the answer."
    ),
    Metric(
        "pacsnode_store_received_bytes_total",
        "counter",
        (),
        "Bytes of the data sets that were stored and acknowledged.",
    ),
    Metric(
        "pacsnode_store_commit_seconds",
        "histogram",
        (),
        "Time to make an instance durable, after its last byte had come.",
    ),
    Metric(
        "pacsnode_store_batch_instances",
        "histogram",
        (),
        "Changes of the index, of which a stored instance is one, that were made durable together.",
    ),
    Metric("pacsnode_index_commit_seconds", "histogram", (), "Time of a transaction of the index, to its durable end."),
    Metric(
        "pacsnode_suboperations_total", "counter", ("op", "result"), "Sub-operations of C-GET and C-MOVE that ended."
    ),
    Metric("pacsnode_instances", "gauge", (), "Instances stored, current versions."),
    Metric("pacsnode_studies", "gauge", (), "Studies stored."),
    Metric("pacsnode_stored_bytes", "gauge", (), "Bytes of their data sets."),
    Metric("pacsnode_storage_free_bytes", "gauge", ("mount",), "Free bytes of the file system of objects, or index."),
    Metric("pacsnode_storage_accepting", "gauge", (), "1 while there is room for another instance."),
    Metric("pacsnode_index_bytes", "gauge", (), "Size of index.db."),
    Metric("pacsnode_index_wal_bytes", "gauge", (), "Size of its write-ahead log."),
    Metric("pacsnode_orphans", "gauge", (), "Objects without a row that the scrub has found and not settled."),
    Metric("pacsnode_quarantined", "gauge", (), "Objects in quarantine."),
    Metric("pacsnode_integrity_open_findings", "gauge", ("kind",), "Findings of the scrub that are open."),
    Metric(
        "pacsnode_integrity_closed_findings_total", "counter", ("outcome",), "Findings that came to their end, ever."
    ),
    Metric("pacsnode_scrub_last_full_timestamp_seconds", "gauge", (), "When the last pass over all objects ended."),
    Metric("pacsnode_commitment_pending", "gauge", (), "Storage commitments that are not reported yet."),
    Metric("pacsnode_commitment_oldest_seconds", "gauge", (), "Age of the oldest of them; 0 where there is none."),
    Metric("pacsnode_job_last_success_timestamp_seconds", "gauge", ("job",), "When the job was last done."),
    Metric(
        "pacsnode_job_due_timestamp_seconds",
        "gauge",
        ("job",),
        "When its next success is due at the latest, by its own schedule; of enabled jobs.",
    ),
    Metric("pacsnode_job_failed_items", "gauge", ("job",), "What its last run could not do, or found to be wrong."),
    Metric("pacsnode_job_duration_seconds", "gauge", ("job",), "What its last run took."),
    Metric("pacsnode_job_failures_total", "counter", ("job",), "Runs of the job that failed since the node's start."),
    Metric("pacsnode_backup_last_success_timestamp_seconds", "gauge", (), "All that was stored before is backed up."),
    Metric("pacsnode_backup_lag_seconds", "gauge", (), "How long ago that is."),
    Metric("pacsnode_backup_stale", "gauge", (), "1 while the backup is older than stale_after, or not there yet."),
    Metric("pacsnode_backup_failing", "gauge", (), "1 while the last run of the backup failed."),
    Metric("pacsnode_backup_damaged", "gauge", (), "Objects that are damaged here and therefore not in the backup."),
    Metric("pacsnode_backup_last_verified_timestamp_seconds", "gauge", (), "When all of the backup was last read."),
    Metric(
        "pacsnode_restore_drill_last_success_timestamp_seconds", "gauge", (), "When a drill last found nothing wrong."
    ),
    Metric(
        "pacsnode_restore_drill_due_timestamp_seconds",
        "gauge",
        (),
        "When the next such drill is due at the latest, by the schedule of backup_drill.",
    ),
    Metric("pacsnode_audit_queue_messages", "gauge", (), "Messages that are not in the audit trail yet."),
    Metric("pacsnode_audit_failing", "gauge", (), "1 while the audit trail cannot be written."),
    Metric("pacsnode_audit_lost_messages_total", "counter", (), "Messages that could not be kept in all that time."),
    Metric("pacsnode_audit_undelivered_records", "gauge", (), "Records that the collector is still to get."),
    Metric("pacsnode_audit_collector_failing", "gauge", (), "1 while nothing can be delivered to the collector."),
    Metric("pacsnode_trash_studies", "gauge", (), "Deletions that can be undone."),
    Metric("pacsnode_trash_bytes", "gauge", (), "Bytes of the data sets that they hold."),
    Metric("pacsnode_compression_before_bytes_total", "counter", ("codec",), "What was compressed, as it came; ever."),
    Metric("pacsnode_compression_after_bytes_total", "counter", ("codec",), "And after it."),
    Metric("pacsnode_certificate_expiry_timestamp_seconds", "gauge", ("key",), "When a certificate of [tls] expires."),
)
BY_NAME = {metric.name: metric for metric in METRICS}
BEGINNING = """\
# Metrics

`[metrics] listen` says where, by default at `127.0.0.1:9104`: a port of loopback, the path of a Unix socket, or "" for
nowhere. Another machine gets there through a proxy of yours. There are

| path | answers |
|---|---|
| `/metrics` | the metrics below, in the text format of Prometheus |
| `/livez` | 200 while the process answers |
| `/readyz` | 200 when index and store take instances, there is room, and no stop; else 503 with the reasons |

Alert rules are in `config/alerts.yml`, a dashboard for Grafana in `config/grafana.json`; what to do about an alert is
in [operations.md](operations.md#monitoring). Counters begin at 0 with each start. No patient data is in any of them.

| metric | kind | labels | meaning |
|---|---|---|---|
"""
ENDING = """\
| `process_…` | gauge, counter | | Of the process, by prometheus-client: memory, CPU seconds, descriptors, start. |

`status_class` is `success`, `warning`, `cancel` or `failure`. Durations of a C-MOVE include those of its destination.
"""


def reference() -> str:
    """The text of docs/metrics.md."""
    return BEGINNING + "".join(_rows()) + ENDING


def _rows() -> Iterator[str]:
    for one in METRICS:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.kind} | {labels} | {one.help} |\n"
