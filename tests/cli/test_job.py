"""``pacsnode job``: list, run, history; offline and through a running node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pacsnode import app
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from pacsnode.service import control
from pacsnode.service.job_order import JobOrder
from tests.cli.folder import Folder
from tests.jobs.stage import Stage, Told, duty

REPORT = {
    "job": "housekeeping",
    "done": 1,
    "skipped": 0,
    "failed": 0,
    "bytes_before": 0,
    "bytes_after": 0,
    "finished": True,
    "details": {"forgotten_runs": 0, "forgotten_changes": 0},
}


def test_run_without_a_node(archive: Folder) -> None:
    """The report of the job, which is then in the history, and in the status."""
    report = archive.answer("job", "run", "housekeeping")
    history, status = archive.answer("job", "history"), archive.answer("status")

    assert REPORT == report
    (run,) = history["runs"]
    assert ("housekeeping", True, "done", 1) == (run["job"], run["by_hand"], run["result"], run["report"]["done"])
    assert {"last_success": run["finished"], "last_result": "done"} == status["jobs"]["housekeeping"]
    assert "housekeeping: done last success 20" in " ".join(archive.run("status").stdout.split())


def test_dry_run_is_not_in_the_history(archive: Folder) -> None:
    """It needs no lock, changes nothing, and says that it was one."""
    with app.hold(archive.data):
        report = archive.answer("job", "run", "housekeeping", "--dry-run")

    assert {**REPORT, "dry_run": True} == report
    assert {"runs": [], "alarms": []} == archive.answer("job", "history", "housekeeping")


def test_list_before_anything_was_stored(folder: Folder) -> None:
    """Each job with its schedule; nothing is created by looking."""
    job, *_ = folder.answer("job", "list")

    assert ("housekeeping", True, "30 3 * * *", False) == (job["job"], job["enabled"], job["schedule"], job["running"])
    assert (None, None) == (job["last_success"], job["last_result"])
    assert not folder.data.exists()
    assert 0 == folder.run("job", "list").exit_code


def test_next_run_is_told_in_the_time_zone(tmp_path: Path) -> None:
    """A schedule of local times is shown in them; a disabled job has no next run."""
    tables = '[jobs]\ntime_zone = "Asia/Kolkata"\n'
    job, *_ = Folder(tmp_path, tables).answer("job", "list")
    disabled, *_ = Folder(tmp_path, tables + "[jobs.housekeeping]\nenabled = false\n").answer("job", "list")

    assert job["next"].endswith("T03:30:00+05:30")
    assert disabled["next"] is None


@pytest.mark.parametrize("arguments", [("run", "compres"), ("history", "compres")])
def test_unknown_job_is_a_usage_error(folder: Folder, arguments: tuple[str, ...]) -> None:
    """With the names there are."""
    result = folder.run("job", *arguments)

    assert 2 == result.exit_code
    assert "no job compres; there are housekeeping" in result.stderr


def test_second_runner_is_refused(archive: Folder) -> None:
    """While somebody else holds the data folder: exit code 75, and nothing is run."""
    with app.hold(archive.data):
        result = archive.run("job", "run", "housekeeping")

    assert 75 == result.exit_code
    assert [] == archive.answer("job", "history")["runs"]


def ordered(archive: Folder, order: control.Order, *arguments: str) -> Any:
    """Run a command while a node answers that carries out the order."""
    with control.answering(archive.data, {}, {"job": order}):
        return archive.run("job", "run", "housekeeping", *arguments)


def test_running_node_is_asked(archive: Folder, tmp_path: Path) -> None:
    """The node runs the job and its report is printed; the command holds no lock."""
    job = Told(lambda budget: JobReport(done=3, bytes_before=10, bytes_after=4), "housekeeping")
    with closing(Ledger(tmp_path / "runs.db", "NODE")) as ledger, app.hold(archive.data):
        runner = Runner([duty(job)], ledger, clock=Stage().clock)
        result = ordered(archive, JobOrder(runner))

    assert (0, 1) == (result.exit_code, job.runs)
    assert ["done: 3", "bytes before: 10", "bytes after: 4"] == [
        line for line in result.stdout.splitlines() if line.startswith(("done", "bytes"))
    ]


def test_job_that_is_running_already(archive: Folder, tmp_path: Path) -> None:
    """Exit code 75: try again later."""
    with closing(Ledger(tmp_path / "runs.db", "NODE")) as ledger:
        codes = []

        def work(budget: Budget) -> JobReport:
            codes.append(archive.run("job", "run", "housekeeping").exit_code)
            return JobReport()

        runner = Runner([duty(Told(work, "housekeeping"))], ledger, clock=Stage().clock)
        codes.append(ordered(archive, JobOrder(runner)).exit_code)

    assert [75, 0] == codes


def told(*lines: Mapping[str, object]) -> control.Order:
    """A node that tells this."""

    def order(what: Mapping[str, object], tell: Callable[[dict[str, object]], None]) -> None:
        for line in lines:
            tell(dict(line))

    return order


def test_failed_items_are_findings(archive: Folder) -> None:
    """Exit code 3."""
    result = ordered(archive, told({"done": 1, "total": 9}, {"report": {"done": 7, "failed": 2}}), "--json")

    assert (3, True) == (result.exit_code, '"failed": 2' in result.stdout)


def test_failed_run(archive: Folder) -> None:
    """The reason in one line, exit code 1; also where the node ends before the job did."""
    failed = ordered(archive, told({"error": "no disk", "is_temporary": False}))
    ended = ordered(archive, told({"done": 1, "total": 9}))

    assert (1, "pacsnode: no disk\n") == (failed.exit_code, failed.stderr)
    assert (1, True) == (ended.exit_code, "the node ended before job housekeeping did" in ended.stderr)


def test_who_stops_listening_ends_the_run(archive: Folder, tmp_path: Path) -> None:
    """Ctrl-C of the command: the run ends between two items."""
    with closing(Ledger(tmp_path / "runs.db", "NODE")) as ledger:

        def work(budget: Budget) -> JobReport:
            done = 0
            while not budget.expired():
                done += 1
                budget.advance(done, None)
            return JobReport(done=done, finished=False)

        seconds = iter(range(10_000_000))
        runner = Runner([duty(Told(work, "housekeeping"))], ledger, clock=Stage().clock)
        order = JobOrder(runner, lambda: next(seconds))
        with control.answering(archive.data, {}, {"job": order}):
            lines = control.order(archive.data, "job", name="housekeeping")
            assert lines is not None
            assert next(lines)["done"]
            lines.close()
            while not ledger.history(None, 1)[0].finished:
                pass
        (run,) = ledger.history(None, 1)

    assert run.report is not None
    assert not run.report.finished
