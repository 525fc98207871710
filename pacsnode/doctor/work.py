"""Findings about what the node does: its jobs, its backup, its peers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pacsnode.config import Config, duration_text
from pacsnode.doctor.finding import Finding
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import Result, Run

_RUN = "pacsnode backup run"
_HEARTBEAT_AGE = timedelta(minutes=30)
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of the backup; times are None where it was never done."""

    is_enabled: bool
    is_stale: bool = False
    as_of: datetime | None = None  # what was stored before is in it
    failure: str = ""  # of the last run
    damaged: int = 0  # objects that are damaged here
    is_drill_enabled: bool = False
    drilled_at: datetime | None = None  # and nothing was wrong
    drill_due: datetime | None = None  # from when on the next one is overdue
    drill_flaws: int = 0  # that the last one found


def backup(told: Told, now: datetime) -> Iterator[Finding]:
    """Is there one, is it new enough, and was it shown that it can be restored?"""
    if not told.is_enabled:
        yield Finding(
            "no_backup",
            "no backup is made by this node",
            "set enabled and target in [jobs.backup], see docs/backup.md; then: pacsnode reload",
        )
        return
    why = f": {told.failure}" if told.failure else ""
    if told.is_stale:
        newest = f"the newest backup is of {told.as_of:%Y-%m-%d %H:%M} UTC" if told.as_of else "no backup was made yet"
        yield Finding("stale_backup", f"{newest}{why}", "look at the target, then: " + _RUN)
    elif why:
        yield Finding("failed_backup", f"the last run of the backup failed{why}", "look at the target, then: " + _RUN)
    if told.damaged:
        problem = f"{told.damaged} objects are damaged here, and not in the backup"
        yield Finding("failed_backup", problem, "see pacsnode quarantine list, and Integrity in docs/operations.md")
    if told.is_drill_enabled:
        yield from _drill(told, now)


def _drill(told: Told, now: datetime) -> Iterator[Finding]:
    if told.drill_flaws:
        problem = f"the last drill found {told.drill_flaws} things that the backup does not bring back as they were"
        yield Finding("failed_drill", problem, "see event=backup_drill_failed in the log; pacsnode backup verify")
    elif told.drilled_at is None:
        yield Finding("no_drill", "no drill has shown yet that the backup can be restored", "pacsnode backup drill")
    elif told.drill_due is not None and now > told.drill_due:
        problem = f"the last drill that showed the backup to be good is of {told.drilled_at:%Y-%m-%d}"
        yield Finding("no_drill", problem, "pacsnode job history, then: pacsnode backup drill")


def retention(*, has_rules: bool, requires_backup: bool, has_backup: bool) -> Iterator[Finding]:
    """Rules that delete, and no backup: either nothing is deleted, or the only copy is."""
    if not has_rules or has_backup:
        return
    what = "delete nothing, for they require one" if requires_backup else "delete the only copy"
    yield Finding(
        "retention",
        f"[jobs.retention] has rules, but there is no backup: they {what}",
        "set up [jobs.backup], see docs/backup.md, or take the rules out",
    )


def jobs(ledger: Ledger, names: Iterable[str], now: datetime, *, is_running: bool) -> Iterator[Finding]:
    """Which failed the last time, or were left unfinished. Raises IndexFailure."""
    for name in names:
        last = ledger.last(name, *Result)
        if last is not None and last.result in (Result.FAILED, Result.ABANDONED):
            yield Finding(
                "failed_job",
                f"the last run of job {name} {_ended(last)}",
                f"see event=job name={name} in the log, then: pacsnode job run {name}",
            )
    for run in ledger.history(None, 100):
        is_dead = not is_running or now - run.heartbeat > _HEARTBEAT_AGE
        if run.result is None and is_dead:
            yield Finding(
                "unfinished_job",
                f"job {run.job} was begun on {run.started:%Y-%m-%d %H:%M} UTC and has not ended",
                "start the node, which runs it again: pacsnode serve",
            )


def silent_peers(config: Config, now: datetime, senders: Mapping[float, Collection[str]]) -> Iterator[Finding]:
    """``senders``: AE titles that instances came from, in the time up to now of so many seconds."""
    for name, entry in config.peer_entries.items():
        seconds = entry.expected_every
        if seconds and entry.title_for(name) not in senders[seconds]:
            yield Finding(
                "silent_peer",
                f"nothing has come from {name} for {duration_text(seconds)}",
                f"look whether it sends, and where to; pacsnode peer test {name}",
            )


def unknown_callers(titles: Iterable[str]) -> Iterator[Finding]:
    """``titles``: of who was rejected because he is no peer, each with its address."""
    found = sorted(titles)
    if found:
        more = ", …" if len(found) > _MOST_NAMED else ""
        yield Finding(
            "unknown_caller",
            f"rejected because they are no peers: {', '.join(found[:_MOST_NAMED])}{more}",
            "see who they are: pacsnode peer pending, then: pacsnode peer approve",
        )


def complaints(name: str, problems: Iterable[str], remedy: str) -> Iterator[Finding]:
    """One for each."""
    yield from (Finding(name, problem, remedy) for problem in problems)


def _ended(run: Run) -> str:
    return f"failed: {run.reason}" if run.result is Result.FAILED else "was cut off"
