"""The state of the node as one line for Nagios, Icinga and the like, with their exit codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_FEW_DAYS = 14
_ROOM_MARKS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """``code`` is the exit code; ``line`` has no line break."""

    code: int
    line: str


def verdict(status: dict[str, Any], *, min_free: int) -> Verdict:
    """What ``pacsnode status --json`` says, judged. Any: JSON."""
    critical = list(_critical(status, min_free))
    warnings = list(_warnings(status, min_free))
    code = CRITICAL if critical else WARNING if warnings else OK
    told = "; ".join(critical + warnings) or f"{status['instances']} instances, {status['associations']} associations"
    return Verdict(code, f"PACSNODE {_WORDS[code]} - {_one_line(told)} | {_measured(status, min_free)}")


def unknown(reason: str) -> Verdict:
    """Nothing could be found out."""
    return Verdict(UNKNOWN, f"PACSNODE {_WORDS[UNKNOWN]} - {_one_line(reason)}")


def _critical(status: dict[str, Any], min_free: int) -> list[str]:
    found = [] if status["running"] else ["the node does not run"]
    if status["free_bytes"] < min_free:
        found.append(f"{status['free_bytes']} bytes are free, nothing is stored")
    return [*found, *map(str, status["degraded"])]


def _warnings(status: dict[str, Any], min_free: int) -> list[str]:
    found = [
        f"job {name} {job['last_result']}"
        for name, job in status["jobs"].items()
        if job["last_result"] in ("failed", "abandoned")
    ]
    backup = status["backup"]
    if backup and backup["failure"] and not backup["is_stale"]:
        found.append("the last run of the backup failed")
    days = status["days_until_full"]
    if days is not None and days < _FEW_DAYS:
        found.append(f"the disk is full in {days:.0f} days")
    elif min_free <= status["free_bytes"] < min_free * _ROOM_MARKS:
        found.append(f"{status['free_bytes']} bytes are free")
    return found


def _measured(status: dict[str, Any], min_free: int) -> str:
    """Performance data: value with its unit, then warning and critical threshold."""
    lag = status["backup"].get("lag_seconds")
    return " ".join(
        [
            f"free={status['free_bytes']}B;{min_free * _ROOM_MARKS}:;{min_free}:",
            f"stored={status['stored_bytes']}B",
            f"instances={status['instances']}",
            f"associations={status['associations']}",
            f"commitments={status['open_commitments']}",
            *([f"backup_age={lag:.0f}s"] if lag is not None else []),
        ]
    )


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
