"""The ledger of runs: which period of which job was run, and what became of it. It decides what is due.

A period is known by the moment it is scheduled for, and has one row, whatever the clock or the scheduler does: so
nothing runs twice, and what did not run is either due or has an alarm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pacsnode.index.statefile import Connection, StateFile, moment_column, moment_of
from pacsnode.jobs.calendar import Calendar, count_between
from pacsnode.jobs.job import JobReport
from pacsnode.jobs.record import Alarm, AlarmKind, Result, Run

NAME = "jobs"
_MOST_ATTEMPTS = 2
_MOST_COUNTED = 1000
# What each version added, from the first. "since": from when on periods of the job count. "result" is NULL while a run
# is under way.
_STEPS = (
    """
CREATE TABLE enlisted (
    job TEXT PRIMARY KEY,
    schedule TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
CREATE TABLE run (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    scheduled_for INTEGER NOT NULL,
    is_by_hand INTEGER NOT NULL,
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    started INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL,
    finished INTEGER,
    result TEXT,
    report TEXT,
    reason TEXT NOT NULL,
    UNIQUE (job, scheduled_for)
) STRICT;
CREATE INDEX run_under_way ON run (job) WHERE result IS NULL;
CREATE TABLE alarm (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    kind TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    periods INTEGER NOT NULL,
    noticed INTEGER NOT NULL,
    reason TEXT NOT NULL,
    UNIQUE (job, kind, since, until)
) STRICT;
""",
)
_RUN = "job, scheduled_for, is_by_hand, node, attempt, started, heartbeat, finished, result, report, reason"
_ALARM = "job, kind, since, until, periods, noticed, reason"


class Ledger:
    """Keeps runs; what changes it is durable when it returns. Safe to use from several threads.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, path: Path, node: str) -> None:
        """Open the ledger, creating it where there is none. ``node``: who runs the jobs, for people."""
        self._database = StateFile(path, NAME, _STEPS)
        self._node = node

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()

    def enlist(self, schedules: Mapping[str, str], now: datetime) -> None:
        """Tell of the jobs that run by a schedule, each with the text of it; others are not expected to run.

        Periods of a job count from when it was first told of with this schedule.
        """
        at = moment_column(now)
        with self._database.writing() as connection:
            for (job,) in connection.execute("SELECT job FROM enlisted").fetchall():
                if job not in schedules:
                    connection.execute("DELETE FROM enlisted WHERE job = ?", (job,))
            for job, schedule in schedules.items():
                connection.execute(
                    "INSERT INTO enlisted VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE"
                    " SET schedule = excluded.schedule, since = excluded.since WHERE schedule != excluded.schedule",
                    (job, schedule, at),
                )

    def close_open_runs(self, now: datetime) -> list[Run]:
        """Note that runs under way were abandoned: to be called at a start, when nobody can be running any."""
        with self._database.writing() as connection:
            runs = _runs(connection, "result IS NULL ORDER BY number")
            connection.execute(
                "UPDATE run SET result = ?, finished = ? WHERE result IS NULL",
                (Result.ABANDONED.value, moment_column(now)),
            )
            for run in runs:
                _note(connection, Alarm(run.job, AlarmKind.ABANDONED, run.scheduled_for, run.scheduled_for, 1, now))
        return runs

    def claim(self, job: str, calendar: Calendar, now: datetime) -> tuple[Run | None, Alarm | None]:
        """Begin the run that is due, if one is; and an alarm for the periods before it that nobody ran.

        Due is the latest period that has no run, or one that was cut off. The job must be enlisted.
        """
        period = calendar.latest(now)
        with self._database.writing() as connection:
            since = _since(connection, job, now)
            if since is None or period <= since:
                return None, None
            known = _runs(connection, "job = ? AND scheduled_for = ?", job, moment_column(period))
            if known:
                return (self._begin_again(connection, known[0], now) if _is_cut_off(known[0]) else None), None
            alarm = _missed(connection, job, calendar, since, period, now)
            return self._begin(connection, job, period, now, is_by_hand=False), alarm

    def is_due(self, job: str, calendar: Calendar, now: datetime) -> bool:
        """Has ``claim`` anything to do: a run to begin, or a clock that was set back?"""
        at = moment_column(calendar.latest(now))
        with self._database.reading() as connection:
            since = connection.execute("SELECT since FROM enlisted WHERE job = ?", (job,)).get
            known = _runs(connection, "job = ? AND scheduled_for = ?", job, at)
        if since is None or since > moment_column(now):
            return since is not None
        return since < at and (not known or _is_cut_off(known[0]))

    def expected_since(self, job: str) -> datetime | None:
        """From when on periods of the job count; None where it runs by no schedule."""
        with self._database.reading() as connection:
            since = connection.execute("SELECT since FROM enlisted WHERE job = ?", (job,)).get
        return None if since is None else moment_of(since)

    def begin_by_hand(self, job: str, now: datetime) -> Run:
        """Begin a run that somebody asked for; it stands for no period of the schedule."""
        with self._database.writing() as connection:
            at = now
            while _runs(connection, "job = ? AND scheduled_for = ?", job, moment_column(at)):
                at += timedelta(microseconds=1)
            return self._begin(connection, job, at, now, is_by_hand=True)

    def beat(self, run: Run, now: datetime) -> None:
        """Note that the run is alive."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE run SET heartbeat = ? WHERE job = ? AND scheduled_for = ?",
                (moment_column(now), run.job, moment_column(run.scheduled_for)),
            )

    def finish(self, run: Run, result: Result, now: datetime, *, report: JobReport | None, reason: str = "") -> None:
        """Note what became of a run. A failed one is an alarm, too."""
        at = moment_column(now)
        told = None if report is None else json.dumps(asdict(report))
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE run SET result = ?, finished = ?, heartbeat = ?, report = ?, reason = ?"
                " WHERE job = ? AND scheduled_for = ?",
                (result.value, at, at, told, reason, run.job, moment_column(run.scheduled_for)),
            )
            if result is Result.FAILED:
                alarm = Alarm(run.job, AlarmKind.FAILED, run.scheduled_for, run.scheduled_for, 1, now, reason)
                _note(connection, alarm)

    def note(self, alarm: Alarm) -> None:
        """Keep an alarm; the same one again changes nothing."""
        with self._database.writing() as connection:
            _note(connection, alarm)

    def history(self, job: str | None, limit: int) -> list[Run]:
        """The newest runs, of one job or of all, the newest first."""
        with self._database.reading() as connection:
            where = "(?1 IS NULL OR job = ?1) ORDER BY started DESC, number DESC LIMIT ?2"
            return _runs(connection, where, job, limit)

    def alarms(self, job: str | None, limit: int) -> list[Alarm]:
        """The newest alarms, of one job or of all, the newest first."""
        statement = f"SELECT {_ALARM} FROM alarm WHERE ?1 IS NULL OR job = ?1 ORDER BY number DESC LIMIT ?2"  # noqa: S608
        with self._database.reading() as connection:
            return [_alarm_of(row) for row in connection.execute(statement, (job, limit))]

    def last(self, job: str, *results: Result) -> Run | None:
        """The newest run of the job that ended so."""
        wanted = json.dumps([result.value for result in results])
        with self._database.reading() as connection:
            where = "job = ? AND result IN (SELECT value FROM json_each(?)) ORDER BY finished DESC LIMIT 1"
            return next(iter(_runs(connection, where, job, wanted)), None)

    def summary(self, jobs: Iterable[str]) -> dict[str, dict[str, str | None]]:
        """For each of the jobs: when it was last done, and what became of its last run; None where it never ran."""
        told: dict[str, dict[str, str | None]] = {}
        for job in jobs:
            success, latest = self.last(job, Result.DONE), self.last(job, *Result)
            told[job] = {
                "last_success": success.finished.isoformat() if success and success.finished else None,
                "last_result": latest.result.value if latest and latest.result else None,
            }
        return told

    def forget(self, before: datetime) -> int:
        """Remove runs and alarms from before this, but for the last one of each job and its last success: how many."""
        at = moment_column(before)
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM run WHERE scheduled_for < ? AND result IS NOT NULL"
                " AND scheduled_for < (SELECT max(scheduled_for) FROM run AS one WHERE one.job = run.job)"
                " AND number NOT IN (SELECT max(number) FROM run WHERE result = 'done' GROUP BY job)",
                (at,),
            )
            forgotten = connection.changes()
            connection.execute("DELETE FROM alarm WHERE noticed < ?", (at,))
            return forgotten + connection.changes()

    def _begin(self, connection: Connection, job: str, period: datetime, now: datetime, *, is_by_hand: bool) -> Run:
        run = Run(job, period, is_by_hand, self._node, 1, now, now)
        connection.execute(
            f"INSERT INTO run ({_RUN}) VALUES (?, ?, ?, ?, 1, ?, ?, NULL, NULL, NULL, '')",  # noqa: S608 - our own names
            (job, moment_column(period), is_by_hand, self._node, moment_column(now), moment_column(now)),
        )
        return run

    def _begin_again(self, connection: Connection, run: Run, now: datetime) -> Run:
        connection.execute(
            "UPDATE run SET attempt = attempt + 1, node = ?, started = ?, heartbeat = ?, finished = NULL,"
            " result = NULL, report = NULL, reason = '' WHERE job = ? AND scheduled_for = ?",
            (self._node, moment_column(now), moment_column(now), run.job, moment_column(run.scheduled_for)),
        )
        return Run(run.job, run.scheduled_for, False, self._node, run.attempt + 1, now, now)


def _is_cut_off(run: Run) -> bool:
    """Is it to be run again? What ended the process twice is not tried a third time."""
    if run.result is Result.STOPPED:
        return True
    return run.result is Result.ABANDONED and run.attempt < _MOST_ATTEMPTS


def _since(connection: Connection, job: str, now: datetime) -> datetime | None:
    """From when on periods of the job count. Never in the future: a clock that was wrong would keep the job from ever
    running again."""
    column = connection.execute("SELECT since FROM enlisted WHERE job = ?", (job,)).get
    if column is None:
        return None
    since = moment_of(column)
    if since <= now:
        return since
    connection.execute("UPDATE enlisted SET since = ? WHERE job = ?", (moment_column(now), job))
    _note(connection, Alarm(job, AlarmKind.CLOCK, now, since, 0, now, "the clock was set back"))
    return now


def _missed(
    connection: Connection, job: str, calendar: Calendar, since: datetime, period: datetime, now: datetime
) -> Alarm | None:
    """An alarm for the periods between the last one that has a row, and this one."""
    where = "job = ? AND NOT is_by_hand AND scheduled_for < ? ORDER BY scheduled_for DESC LIMIT 1"
    last = next(iter(_runs(connection, where, job, moment_column(period))), None)
    start = since if last is None else max(since, last.scheduled_for)
    count = count_between(calendar, start, period, _MOST_COUNTED)
    first, until = calendar.after(start), calendar.latest(period - timedelta(microseconds=1))
    if last is not None and last.result is Result.STOPPED:  # the node stopped under it, and was down too long
        count, first = count + 1, last.scheduled_for
    if not count:
        return None
    alarm = Alarm(job, AlarmKind.MISSED, first, max(first, until), count, now)
    _note(connection, alarm)
    return alarm


def _note(connection: Connection, alarm: Alarm) -> None:
    connection.execute(
        f"INSERT OR IGNORE INTO alarm ({_ALARM}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own names
        (
            alarm.job,
            alarm.kind.value,
            moment_column(alarm.since),
            moment_column(alarm.until),
            alarm.periods,
            moment_column(alarm.noticed),
            alarm.reason,
        ),
    )


def _runs(connection: Connection, where: str, *values: str | int | None) -> list[Run]:
    return [_run_of(row) for row in connection.execute(f"SELECT {_RUN} FROM run WHERE {where}", values)]  # noqa: S608


def _run_of(row: Iterable[Any]) -> Run:
    job, scheduled_for, is_by_hand, node, attempt, started, heartbeat, finished, result, report, reason = row
    return Run(
        job=job,
        scheduled_for=moment_of(scheduled_for),
        is_by_hand=bool(is_by_hand),
        node=node,
        attempt=attempt,
        started=moment_of(started),
        heartbeat=moment_of(heartbeat),
        finished=None if finished is None else moment_of(finished),
        result=None if result is None else Result(result),
        report=None if report is None else JobReport(**json.loads(report)),
        reason=reason,
    )


def _alarm_of(row: Iterable[Any]) -> Alarm:
    job, kind, since, until, periods, noticed, reason = row
    return Alarm(job, AlarmKind(kind), moment_of(since), moment_of(until), periods, moment_of(noticed), reason)
