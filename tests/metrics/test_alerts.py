"""config/alerts.yml and config/grafana.json: what they name exists, and each rule fires, by Prometheus' promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pacsnode.metrics.catalogue import METRICS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "alerts.yml"
DASHBOARD = ROOT / "config" / "grafana.json"
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=str(Path(sys.executable).parent))
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing; run: make tools")

_NAME = re.compile(r"\b(?:pacsnode|process)_[a-z_]+")
STORES = 'pacsnode_dimse_operations_total{op="C-STORE",status_class="%s",ae="CT01",instance="n"}'
FIRING: dict[str, dict[str, str]] = {
    "PacsnodeDown": {'up{job="pacsnode"}': "0x600"},
    "PacsnodeNotReady": {"pacsnode_ready": "0x600"},
    "PacsnodeStorageFull": {"pacsnode_storage_accepting": "0x600"},
    "PacsnodeStorageFullSoon": {'pacsnode_storage_free_bytes{mount="objects"}': "1000000-1000x600"},
    "PacsnodeDegraded": {"pacsnode_degraded": "1x600"},
    "PacsnodeDamaged": {'pacsnode_integrity_open_findings{kind="damaged"}': "1x600"},
    "PacsnodeStoresFail": {STORES % "success": "0+90x600", STORES % "failure": "0+10x600"},
    "PacsnodeSlowStores": {
        'pacsnode_store_commit_seconds_bucket{instance="n",le="1.0"}': "0+9x600",
        'pacsnode_store_commit_seconds_bucket{instance="n",le="10.0"}': "0+10x600",
        'pacsnode_store_commit_seconds_bucket{instance="n",le="+Inf"}': "0+10x600",
    },
    "PacsnodeRejects": {'pacsnode_associations_total{result="rejected",reason="calling_ae"}': "0+2x600"},
    "PacsnodeJobFailed": {'pacsnode_job_failures_total{job="backup"}': "0x590 1x10"},
    "PacsnodeJobOverdue": {'pacsnode_job_due_timestamp_seconds{job="backup_drill"}': "35000x600"},
    "PacsnodeBackupStale": {"pacsnode_backup_stale": "1x600"},
    "PacsnodeBackupFails": {"pacsnode_backup_failing": "1x600"},
    "PacsnodeBackupDamaged": {'pacsnode_job_failed_items{job="backup_verify"}': "1x600"},
    "PacsnodeDrillFailed": {'pacsnode_job_failed_items{job="backup_drill"}': "1x600"},
    "PacsnodeDrillOverdue": {"pacsnode_restore_drill_due_timestamp_seconds": "35000x600"},
    "PacsnodeAuditFails": {"pacsnode_audit_failing": "1x600"},
    "PacsnodeAuditUndelivered": {"pacsnode_audit_collector_failing": "1x600"},
    "PacsnodeCommitmentsWait": {"pacsnode_commitment_oldest_seconds": "3700x600"},
    "PacsnodeCertificateExpires": {'pacsnode_certificate_expiry_timestamp_seconds{key="certificate"}': "1000000x600"},
}
QUIET = {
    'up{job="pacsnode"}': "1x600",
    "pacsnode_ready": "1x600",
    "pacsnode_storage_accepting": "1x600",
    'pacsnode_storage_free_bytes{mount="objects"}': "1000000000-1000x600",
    "pacsnode_degraded": "0x600",
    'pacsnode_integrity_open_findings{kind="stray"}': "1x600",
    STORES % "success": "0+99x600",
    STORES % "failure": "0+1x600",
    'pacsnode_store_commit_seconds_bucket{instance="n",le="1.0"}': "0+10x600",
    'pacsnode_store_commit_seconds_bucket{instance="n",le="+Inf"}': "0+10x600",
    'pacsnode_associations_total{result="rejected",reason="calling_ae"}': "0+1x600",
    'pacsnode_job_failures_total{job="backup"}': "3x600",
    'pacsnode_job_last_success_timestamp_seconds{job="backup_drill"}': "-1000000x600",
    'pacsnode_job_due_timestamp_seconds{job="backup_drill"}': "200000x600",
    'pacsnode_job_last_success_timestamp_seconds{job="disabled"}': "-99000000x600",
    'pacsnode_job_due_timestamp_seconds{job="housekeeping"}': "35900x600",
    "pacsnode_backup_stale": "1x595 0x5",
    "pacsnode_backup_failing": "0x580 1x20",
    'pacsnode_job_failed_items{job="backup_verify"}': "0x600",
    'pacsnode_job_failed_items{job="backup_drill"}': "0x600",
    'pacsnode_job_failed_items{job="compression"}': "5x600",
    "pacsnode_restore_drill_due_timestamp_seconds": "600000x600",
    "pacsnode_audit_failing": "0x600",
    "pacsnode_audit_lost_messages_total": "7x600",
    "pacsnode_audit_collector_failing": "0x595 1x5",
    "pacsnode_commitment_oldest_seconds": "60x600",
    'pacsnode_certificate_expiry_timestamp_seconds{key="certificate"}': "9000000x600",
}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it."""
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def rules() -> dict[str, str]:
    """Each rule's text by its name."""
    _, *texts = RULES.read_text("utf-8").split("- alert: ")
    return {text.split("\n", 1)[0].strip(): text for text in texts}


def test_metrics_that_are_named_exist() -> None:
    """In the rules and on the dashboard: no metric that the node does not have."""
    known = {"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"}
    for metric in METRICS:
        endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        known |= {metric.name + ending for ending in endings}
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    assert set() == set(_NAME.findall(RULES.read_text("utf-8"))) - known
    assert set() == set(_NAME.findall(" ".join(asked))) - known


def test_dashboard() -> None:
    """Every panel has a title, a place of its own and something to show."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]

    assert len(panels) == len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels})
    assert len(panels) == len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels})
    assert all(panel["targets"] and all(target["expr"] for target in panel["targets"]) for panel in panels)


def test_every_rule_has_its_case_and_its_words() -> None:
    """A new rule needs a case here, a severity, a summary and a remedy."""
    assert set(FIRING) == set(rules())
    for text in rules().values():
        assert re.search(r"severity: (critical|warning)\b", text)
        assert "summary: " in text
        assert "remedy: " in text


def test_rules_are_documented() -> None:
    """docs/operations.md says what to do about each."""
    told = (ROOT / "docs" / "operations.md").read_text("utf-8")

    assert [] == [name for name in rules() if f"`{name}`" not in told]


@needs_promtool
def test_rules_parse() -> None:
    """Prometheus takes them."""
    done = promtool("check", "rules", RULES)

    assert 0 == done.returncode, done.stdout + done.stderr


def firing(tmp_path: Path, series: dict[str, str]) -> list[str]:
    """The rules that fire after ten hours of these series."""
    case = {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "alert_rule_test": [{"eval_time": "10h", "alertname": name, "exp_alerts": []} for name in FIRING],
    }
    file = tmp_path / "case.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [case]}))
    done = promtool("test", "rules", file)
    said = done.stdout + done.stderr
    fired = re.findall(r"alertname: ?(\w+)", said)
    assert bool(fired) == bool(done.returncode), said
    return fired


@needs_promtool
@pytest.mark.parametrize("name", FIRING)
def test_rule_fires(tmp_path: Path, name: str) -> None:
    """On what it is for, and no other rule does."""
    assert [name] == firing(tmp_path, FIRING[name])


@needs_promtool
def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    """On a node with a few failures and a certificate that is good for months."""
    assert [] == firing(tmp_path, QUIET)


@needs_promtool
def test_overdue_is_by_the_schedule_of_each_job(tmp_path: Path) -> None:
    """A weekly job that was done last week is not overdue, nor is a disabled one; one that was never done is."""
    success, due = "pacsnode_job_last_success_timestamp_seconds", "pacsnode_job_due_timestamp_seconds"
    weekly = {f'{success}{{job="backup_drill"}}': "-500000x600", f'{due}{{job="backup_drill"}}': "100000x600"}
    disabled = {f'{success}{{job="compression"}}': "-9000000x600"}
    never_done = {f'{due}{{job="integrity"}}': "600x600"}

    assert [] == firing(tmp_path, weekly | disabled)
    assert ["PacsnodeJobOverdue"] == firing(tmp_path, weekly | disabled | never_done)
