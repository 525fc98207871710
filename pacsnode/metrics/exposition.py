"""Counts and facts in the text format of Prometheus, through a registry of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pacsnode.metrics.catalogue import BY_NAME
from pacsnode.metrics.counts import Counts
from pacsnode.metrics.facts import AuditFacts, BackupFacts, Facts, JobFacts

_L = TypeVar("_L", bound=tuple[str, ...])


class Exposition(Collector):
    """What ``/metrics`` says. Safe to use from several threads."""

    def __init__(
        self,
        counts: Counts,
        facts: Callable[[], Facts],
        hindrances: Callable[[], list[str]],
        versions: Mapping[str, str],
    ) -> None:
        """``hindrances``: why the node is not ready. ``versions``: the labels of pacsnode_build_info."""
        self._counts = counts
        self._facts = facts
        self._hindrances = hindrances
        self._versions = versions
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics, as they are now."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Family]:
        """Nothing: the registry need not collect to know names."""
        return []

    def collect(self) -> Iterator[Family]:
        """See Collector."""
        build = (self._versions["version"], self._versions["sqlite"])
        yield _family("pacsnode_build_info", {build: 1})
        yield _family("pacsnode_ready", {(): not self._hindrances()})
        yield from self._counted()
        facts = self._facts()
        yield from _state(facts)
        yield from _integrity(facts)
        yield from _jobs(facts.jobs)
        yield from _kept_elsewhere(facts)
        if facts.backup is not None:
            yield from _backup(facts.backup)
        if facts.audit is not None:
            yield from _audit(facts.audit)

    def _counted(self) -> Iterator[Family]:
        counts = self._counts
        with counts.lock:
            operations, associations = dict(counts.operations), dict(counts.associations)
            violations, suboperations = dict(counts.violations), dict(counts.suboperations)
            durations = {(name,): (one.buckets(), one.sum) for name, one in counts.durations.items()}
            commits = {(): (counts.commits.buckets(), counts.commits.sum)}
            batches = {(): (counts.batches.buckets(), counts.batches.sum)}
            transactions = {(): (counts.transactions.buckets(), counts.transactions.sum)}
            received = counts.received_bytes
        yield _family("pacsnode_associations_total", associations)
        yield _family("pacsnode_pdu_errors_total", {(kind,): count for kind, count in violations.items()})
        yield _family("pacsnode_dimse_operations_total", operations)
        yield _family("pacsnode_suboperations_total", suboperations)
        yield _family("pacsnode_store_received_bytes_total", {(): received})
        yield _histogram("pacsnode_dimse_duration_seconds", durations)
        yield _histogram("pacsnode_store_commit_seconds", commits)
        yield _histogram("pacsnode_store_batch_instances", batches)
        yield _histogram("pacsnode_index_commit_seconds", transactions)


def _state(facts: Facts) -> Iterator[Family]:
    yield _family("pacsnode_degraded", {(): facts.degraded})
    yield _family("pacsnode_associations_active", {("acceptor",): facts.associations})
    yield _family("pacsnode_storage_accepting", {(): facts.is_accepting})
    yield _family("pacsnode_storage_free_bytes", {(name,): size for name, size in facts.free_bytes.items()})
    if facts.totals is not None:
        yield _family("pacsnode_instances", {(): facts.totals.instances})
        yield _family("pacsnode_studies", {(): facts.totals.studies})
        yield _family("pacsnode_stored_bytes", {(): facts.totals.stored_bytes})
    yield _family("pacsnode_index_bytes", {(): facts.index_bytes})
    yield _family("pacsnode_index_wal_bytes", {(): facts.wal_bytes})
    yield _family("pacsnode_commitment_pending", {(): facts.commitments})
    yield _family("pacsnode_commitment_oldest_seconds", {(): facts.commitment_seconds})
    yield _moments("pacsnode_certificate_expiry_timestamp_seconds", facts.certificates)


def _integrity(facts: Facts) -> Iterator[Family]:
    yield _family("pacsnode_orphans", {(): facts.findings.get("stray", 0)})
    yield _family("pacsnode_quarantined", {(): facts.quarantined})
    yield _family("pacsnode_integrity_open_findings", {(kind,): count for kind, count in facts.findings.items()})
    closed = {(outcome,): count for outcome, count in facts.closed_findings.items()}
    yield _family("pacsnode_integrity_closed_findings_total", closed)
    yield from _moment("pacsnode_scrub_last_full_timestamp_seconds", facts.last_full_scrub)


def _jobs(jobs: Mapping[str, JobFacts]) -> Iterator[Family]:
    yield _moments(
        "pacsnode_job_last_success_timestamp_seconds",
        {name: job.last_success for name, job in jobs.items() if job.last_success is not None},
    )
    due = {name: job.due for name, job in jobs.items() if job.due is not None}
    yield _moments("pacsnode_job_due_timestamp_seconds", due)
    yield _family("pacsnode_job_failed_items", {(name,): job.failed_items for name, job in jobs.items()})
    seconds = {(name,): job.last_seconds for name, job in jobs.items() if job.last_seconds is not None}
    yield _family("pacsnode_job_duration_seconds", seconds)
    yield _family("pacsnode_job_failures_total", {(name,): job.failures for name, job in jobs.items()})


def _kept_elsewhere(facts: Facts) -> Iterator[Family]:
    studies, size = facts.trash
    yield _family("pacsnode_trash_studies", {(): studies})
    yield _family("pacsnode_trash_bytes", {(): size})
    before = {(codec,): sizes[0] for codec, sizes in facts.compressed.items()}
    yield _family("pacsnode_compression_before_bytes_total", before)
    after = {(codec,): sizes[1] for codec, sizes in facts.compressed.items()}
    yield _family("pacsnode_compression_after_bytes_total", after)


def _backup(backup: BackupFacts) -> Iterator[Family]:
    yield _family("pacsnode_backup_stale", {(): backup.is_stale})
    yield _family("pacsnode_backup_failing", {(): backup.is_failing})
    yield _family("pacsnode_backup_damaged", {(): backup.damaged})
    if backup.lag_seconds is not None:
        yield _family("pacsnode_backup_lag_seconds", {(): backup.lag_seconds})
    yield from _moment("pacsnode_backup_last_success_timestamp_seconds", backup.as_of)
    yield from _moment("pacsnode_backup_last_verified_timestamp_seconds", backup.verified)
    yield from _moment("pacsnode_restore_drill_last_success_timestamp_seconds", backup.drilled)
    yield from _moment("pacsnode_restore_drill_due_timestamp_seconds", backup.drill_due)


def _audit(audit: AuditFacts) -> Iterator[Family]:
    yield _family("pacsnode_audit_queue_messages", {(): audit.waiting})
    yield _family("pacsnode_audit_failing", {(): audit.is_failing})
    yield _family("pacsnode_audit_lost_messages_total", {(): audit.lost})
    if audit.undelivered is not None:
        yield _family("pacsnode_audit_undelivered_records", {(): audit.undelivered})
    if audit.is_collector_failing is not None:
        yield _family("pacsnode_audit_collector_failing", {(): audit.is_collector_failing})


def _moment(name: str, moment: datetime | None) -> Iterator[Family]:
    if moment is not None:
        yield _family(name, {(): moment.timestamp()})


def _moments(name: str, moments: Mapping[str, datetime]) -> Family:
    return _family(name, {(label,): moment.timestamp() for label, moment in moments.items()})


def _family(name: str, samples: Mapping[_L, float]) -> Family:
    metric = BY_NAME[name]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, float(value))
    return family


def _histogram(name: str, samples: Mapping[_L, tuple[list[tuple[str, float]], float]]) -> Family:
    metric = BY_NAME[name]
    family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, (buckets, total) in samples.items():
        family.add_metric(labels, buckets, sum_value=total)
    return family
