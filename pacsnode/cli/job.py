"""``pacsnode job``: what the node does by itself."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType

import click

from pacsnode import app
from pacsnode.audit import opening as audit
from pacsnode.cli import console
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.config import Config
from pacsnode.errors import JobRunning, PacsNodeError
from pacsnode.jobs.budget import RunBudget
from pacsnode.jobs.calendar import calendar
from pacsnode.jobs.job import JobReport
from pacsnode.jobs.record import Alarm, Run
from pacsnode.jobs.zone import zone_named
from pacsnode.service import control

_Advance = Callable[[int, int | None], None]


@click.group("job", cls=Group)
def command() -> None:
    """List and run jobs, which a node does by itself.

    By schedule, under a ledger of what was run and what was missed.
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> int:
    """List the jobs with their schedules, when each is due and what became of its last run."""
    config = load_config()
    now, zone = datetime.now(UTC), zone_named(config.jobs.time_zone)
    with app.known_runs(config) as ledger:
        summary = ledger.summary(config.jobs.tables) if ledger else {}
        under_way = {run.job for run in ledger.history(None, 100) if run.result is None} if ledger else set()
    answer = control.ask(config.node.data)
    jobs = [
        {
            "job": name,
            "enabled": table.enabled,
            "schedule": str(table.schedule),
            "next": calendar(table.schedule, zone).after(now).astimezone(zone).isoformat() if table.enabled else None,
            "running": answer is not None and name in under_way,
            **summary.get(name, {"last_success": None, "last_result": None}),
        }
        for name, table in config.jobs.tables.items()
    ]
    if as_json:
        console.print_json(jobs)
    else:
        headings = ("job", "schedule", "next", "last success", "last result")
        rows = [(job["job"], job["schedule"], job["next"] or "disabled", *_last(job)) for job in jobs]
        console.print_table(headings, rows)
    return console.Exit.OK


@command.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@json_option
def run(name: str, dry_run: bool, as_json: bool) -> int:
    """Run a job now, whatever its schedule, and print its report.

    A running node is asked to do it; without one, its lock is held. Exit code 3: some items have failed. 75: the job
    is running already. Ctrl-C ends the run between two items; the next run goes on.
    """
    config = load_config()
    if name not in config.jobs.tables:
        raise click.UsageError(f"no job {name}; there are {', '.join(config.jobs.tables)}")
    with console.progress_of(name) as advance:
        report = _rehearse(config, name, advance) if dry_run else _run(config, name, advance)
    told = {"job": name, **asdict(report)}
    if as_json:
        console.print_json({**told, "dry_run": True} if dry_run else told)
    else:
        for key, value in told.items():
            console.print_line(f"{key.replace('_', ' ')}: {_text(value)}")
    return console.Exit.FINDINGS if report.failed else console.Exit.OK


@command.command()
@click.argument("name", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100_000), help="Most to be listed.")
@json_option
def history(name: str | None, limit: int, as_json: bool) -> int:
    """List the newest runs and alarms, of one job or of all."""
    config = load_config()
    if name is not None and name not in config.jobs.tables:
        raise click.UsageError(f"no job {name}; there are {', '.join(config.jobs.tables)}")
    with app.known_runs(config) as ledger:
        runs = ledger.history(name, limit) if ledger else []
        alarms = ledger.alarms(name, limit) if ledger else []
    if as_json:
        console.print_json({"runs": list(map(_run_json, runs)), "alarms": list(map(_alarm_json, alarms))})
        return console.Exit.OK
    headings = ("started", "job", "result", "done", "skipped", "failed", "reason")
    console.print_table(headings, [_run_row(one) for one in runs])
    if alarms:
        console.print_line("")
        headings = ("noticed", "job", "alarm", "since", "until", "periods", "reason")
        console.print_table(headings, [tuple(_alarm_json(one).values()) for one in alarms])
    return console.Exit.OK


def _run(config: Config, name: str, advance: _Advance) -> JobReport:
    told = control.order(config.node.data, "job", name=name)
    if told is not None:
        return _listen(name, told, advance)
    with (
        app.open_archive(config, read_only=False) as archive,
        audit.commanded(config, app.system_clock) as recorder,
        app.engaged_jobs(config, archive, recorder) as (runner, _),
    ):
        runner.abandon_open_runs()
        with _interruptible(runner.stop):
            return runner.run_by_hand(name, advance)


def _listen(name: str, told: Iterator[dict[str, object]], advance: _Advance) -> JobReport:
    for line in told:
        if "error" in line:
            raise (JobRunning if line.get("is_temporary") else PacsNodeError)(str(line["error"]))
        report = line.get("report")
        if isinstance(report, dict):
            return JobReport(**report)
        done, total = line.get("done"), line.get("total")
        advance(done if isinstance(done, int) else 0, total if isinstance(total, int) else None)
    raise PacsNodeError(f"the node ended before job {name} did; see its log, and: pacsnode job history {name}")


def _rehearse(config: Config, name: str, advance: _Advance) -> JobReport:
    """Works beside a running node: it changes nothing."""
    with app.open_archive(config, read_only=True) as archive, app.engaged_jobs(config, archive) as (runner, _):
        return runner.duties[name].job.rehearse(RunBudget(told=advance))


@contextlib.contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the run between two items, the second one at once."""

    def interrupted(number: int, frame: FrameType | None) -> None:
        stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last(job: Mapping[str, object]) -> tuple[object, object]:
    return job["last_success"] or "never", job["last_result"] or "none"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _run_json(run: Run) -> dict[str, object]:
    return {
        "job": run.job,
        "scheduled_for": run.scheduled_for.isoformat(),
        "by_hand": run.is_by_hand,
        "node": run.node,
        "attempt": run.attempt,
        "started": run.started.isoformat(),
        "heartbeat": run.heartbeat.isoformat(),
        "finished": run.finished.isoformat() if run.finished else None,
        "result": run.result.value if run.result else None,
        "report": asdict(run.report) if run.report else None,
        "reason": run.reason,
    }


def _run_row(run: Run) -> tuple[object, ...]:
    report = run.report or JobReport()
    result = run.result.value if run.result else "under way"
    started = run.started.isoformat(timespec="seconds")
    return started, run.job, result, report.done, report.skipped, report.failed, run.reason


def _alarm_json(alarm: Alarm) -> dict[str, object]:
    return {
        "noticed": alarm.noticed.isoformat(),
        "job": alarm.job,
        "kind": alarm.kind.value,
        "since": alarm.since.isoformat(),
        "until": alarm.until.isoformat(),
        "periods": alarm.periods,
        "reason": alarm.reason,
    }
