"""Jobs of a running node."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.live import LiveNode


def test_jobs_of_a_running_node(tmp_path: Path) -> None:
    """They run by schedule, are run by hand through the node, and are told of; a stop waits for none."""
    with LiveNode(tmp_path / "node", '[jobs.housekeeping]\nschedule = "every 1 s"\n') as node:
        node.wait_for(r"event=job name=housekeeping result=done scheduled=\S+Z?.* finished=yes")
        report = json.loads(node.run("job", "run", "housekeeping", "--json"))
        node.wait_for(r"event=job name=housekeeping result=done ms=")
        status = json.loads(node.run("status", "--json"))
        job = json.loads(node.run("job", "list", "--json"))[0]
        assert 0 == node.stop()

    assert ("housekeeping", 1, 0) == (report["job"], report["done"], report["failed"])
    assert "done" == status["jobs"]["housekeeping"]["last_result"] == job["last_result"]
    assert status["jobs"]["housekeeping"]["last_success"]
