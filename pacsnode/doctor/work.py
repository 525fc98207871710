"""Findings about what the node does: its jobs, its backup, its peers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from pacsnode.config import Config, duration_text
from pacsnode.doctor.finding import Finding
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import Result, Run

BACKUP_AGE = timedelta(days=1)
_HEARTBEAT_AGE = timedelta(minutes=30)
_MOST_NAMED = 5


def backup(*, is_enabled: bool, last_success: datetime | None, now: datetime) -> Iterator[Finding]:
    """Is there one, and is it of today?"""
    if not is_enabled:
        yield Finding(
            "no_backup",
            "no backup is made by this node",
            "copy the archive by a job of the system, see Backup and restore in docs/operations.md",
        )
    elif last_success is None or now - last_success > BACKUP_AGE:
        when = f"of {last_success:%Y-%m-%d %H:%M} UTC" if last_success else "not there yet"
        yield Finding(
            "stale_backup", f"the newest backup is {when}", "see why: pacsnode job history, and event=job in the log"
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
