"""Metrics and health of a running node."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.metrics.catalogue import METRICS
from tests.certificates import Trust
from tests.dimse import images
from tests.dimse.conftest import eventually
from tests.dimse.raw_peer import (
    C_FIND,
    CT,
    EXPLICIT,
    STUDY_FIND,
    VERIFICATION,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    identifier,
)
from tests.metrics.scrape import TABLE, page, samples
from tests.system.live import LiveNode

TABLES = (
    TABLE + '[log]\nslow_store = "1 ms"\nslow_query = "1 ms"\n[jobs.housekeeping]\nschedule = "every 1 s"\n'
    '[peers.CT01]\nhost = "127.0.0.1"\nport = 104\n[peers.TESTER]\nhost = "127.0.0.1"\nport = 104\nallow = ["echo"]\n'
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node that is monitored."""
    with LiveNode(tmp_path_factory.mktemp("node"), TABLES) as live:
        yield live


def store(node: LiveNode, number: int, calling: str = "CT01") -> int | None:
    """Store an image: the status."""
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq([Offer(1, CT, (EXPLICIT,))], calling=calling.encode()))
        status = peer.store(1, CT, images.uid_of(number), images.image(number)).status
        peer.release()
    return status


def accepted(node: LiveNode) -> float:
    """Associations, each of which is counted a moment after its peer has heard of it."""
    return samples(page(node, "/metrics")[1])["pacsnode_associations_total"][("reason", "none"), ("result", "accepted")]


def test_what_peers_do_is_counted(node: LiveNode) -> None:
    """Operations by status and peer, associations, rejections, bytes, durations, totals."""
    assert [0, 0x0124, 0] == [store(node, 1), store(node, 2, "TESTER"), store(node, 3, "STRANGER")]
    with RawPeer(node.port) as peer, pytest.raises(Rejected):
        peer.associate(request=associate_rq([Offer(1, VERIFICATION)], called=b"ANOTHER"))
    with RawPeer(node.port) as peer:
        peer.associate()
        assert eventually(lambda: 4 == accepted(node))
        found = samples(page(node, "/metrics")[1])

    operations = found["pacsnode_dimse_operations_total"]
    told = {(dict(labels)["ae"], dict(labels)["status_class"]): value for labels, value in operations.items()}
    assert {("CT01", "success"): 1, ("TESTER", "failure"): 1, ("other", "success"): 1} == told
    associations = found["pacsnode_associations_total"]
    assert 1 == associations[("reason", "called_ae"), ("result", "rejected")]
    assert 1 == found["pacsnode_associations_active"][(("role", "acceptor"),)]
    assert 2 == found["pacsnode_instances"][()]
    assert found["pacsnode_stored_bytes"] == found["pacsnode_store_received_bytes_total"]
    assert 3 == found["pacsnode_dimse_duration_seconds_count"][(("op", "C-STORE"),)]
    assert 2 == found["pacsnode_store_commit_seconds_count"][()]
    assert 2 == found["pacsnode_store_batch_instances_sum"][()]
    assert 2 >= found["pacsnode_index_commit_seconds_count"][()] >= 1
    assert 1 == found["pacsnode_storage_accepting"][()]
    assert 1 == found["pacsnode_ready"][()]


def test_every_metric_is_in_the_catalogue(node: LiveNode) -> None:
    """And no label has more than 500 values."""
    node.wait_for("event=job name=housekeeping result=done")
    found = samples(page(node, "/metrics")[1])
    known = {metric.name: set(metric.labels) for metric in METRICS}
    for name, by_labels in found.items():
        if name.startswith(("process_",)):
            continue
        base = name
        for ending in ("_bucket", "_sum", "_count"):
            base = base if base in known else base.removesuffix(ending)
        assert base in known
        for labels in by_labels:
            assert known[base] == {key for key, _ in labels} - {"le"}
        for label in known[base]:
            assert 500 > len({dict(labels)[label] for labels in by_labels})

    assert {"process_resident_memory_bytes", "pacsnode_job_last_success_timestamp_seconds"} <= set(found)


def test_slow_ones_are_logged(node: LiveNode) -> None:
    """Beyond the thresholds of [log]: who, how long, and of a query the names of its keys, never a value."""
    numbers = itertools.count(10)
    while "event=slow_store uid=" not in node.log:  # a fast disk may need less than the least threshold
        store(node, next(numbers))
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq([Offer(1, STUDY_FIND)], calling=b"CT01"))
        while "event=slow_query" not in node.log:
            peer.start_query(1, C_FIND, STUDY_FIND, identifier({0x00080052: "STUDY", 0x00100010: "DOE*"}))
            peer.responses()
        peer.release()

    node.wait_for("event=slow_store uid=[0-9.]+ peer=CT01 bytes=[0-9]+ ms=[0-9.]+$")
    node.wait_for("event=slow_query peer=CT01 at=STUDY keys=patient_name matches=0 ms=[0-9.]+$")
    assert "DOE" not in node.log


def test_health(node: LiveNode) -> None:
    """/livez and /readyz say ok."""
    assert [(200, "ok\n"), (200, "ok\n")] == [page(node, "/livez"), page(node, "/readyz")]


def test_not_ready_without_room(tmp_path: Path) -> None:
    """Below the mark the node lives, but is not ready, and says why."""
    with LiveNode(tmp_path / "node", TABLE, min_free="1000000 TiB") as live:
        code, text = page(live, "/readyz")

        assert (200, 503) == (page(live, "/livez")[0], code)
        assert "bytes are free" in text
        assert 0 == samples(page(live, "/metrics")[1])["pacsnode_storage_accepting"][()]


def test_not_ready_while_it_drains(tmp_path: Path) -> None:
    """A node that was told to stop answers to the end of the drain, and is not ready."""
    with LiveNode(tmp_path / "node", TABLE) as live, RawPeer(live.port) as peer:
        peer.associate()
        os.kill(live.pid, signal.SIGTERM)
        live.wait_for("event=stopping")
        code, text = page(live, "/readyz")
        peer.release()

    assert (503, "the node is stopping\n") == (code, text)


def test_a_port_that_is_taken(node: LiveNode, tmp_path: Path) -> None:
    """Monitoring keeps no node from its work: it is logged, and all else goes on."""
    address = node.wait_for(r"metrics=(\S+)")[1]
    with LiveNode(tmp_path / "node", f'[metrics]\nlisten = "{address}"\n') as live:
        assert live.wait_for("event=metrics_not_listening address=.*in use")
        assert live.wait_for("event=ready .*metrics=none")


def test_backup_and_audit(tmp_path: Path) -> None:
    """How old the backup is and when it is to be tried, what the collector is to get, and what is in the trash."""
    place = tmp_path / "place"
    place.mkdir()
    trust = Trust.made(tmp_path / "tls")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        collector = f"tls://127.0.0.1:{nobody.getsockname()[1]}"
        tables = (
            f'[audit]\nsyslog = "{collector}"\nsyslog_ca = "{trust.folder}/ca.pem"\n'
            f'[jobs.backup]\nenabled = true\nschedule = "every 1 s"\n'
            f'target = "file://{place}"\n'
        )
        with LiveNode(tmp_path / "node", TABLE + tables) as live:
            before = samples(page(live, "/metrics")[1])
            store(live, 1)
            live.wait_for("event=job name=backup result=done .*done=1")
            live.wait_for("event=audit_collector_failed")
            found = samples(page(live, "/metrics")[1])

    assert 0 == before["pacsnode_trash_bytes"][()]
    assert before["pacsnode_audit_failing"][()] == before["pacsnode_audit_lost_messages_total"][()] == 0
    assert (0, 0) == (found["pacsnode_backup_stale"][()], found["pacsnode_backup_failing"][()])
    assert 60 > found["pacsnode_backup_lag_seconds"][()] >= 0
    assert found["pacsnode_backup_last_success_timestamp_seconds"][()] > 1.7e9
    assert found["pacsnode_restore_drill_due_timestamp_seconds"][()] > time.time()
    assert "pacsnode_restore_drill_last_success_timestamp_seconds" not in found
    due = {dict(labels)["job"] for labels in found["pacsnode_job_due_timestamp_seconds"]}
    assert {"backup", "backup_drill", "retention"} <= due
    assert found["pacsnode_audit_undelivered_records"][()] > 0
    assert 1 == found["pacsnode_audit_collector_failing"][()]
