"""``pacsnode status``: what is stored and what goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pacsnode import __version__, app
from pacsnode.cli import console, nagios
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.compression.overview import overview
from pacsnode.config import Config
from pacsnode.doctor import growth
from pacsnode.errors import PacsNodeError
from pacsnode.model import Totals
from pacsnode.service import control

_MOST_NAMED = 10
_WIDTH = 20
_BACKUP_TIMES = (("as of", "as_of"), ("verified", "verified_at"), ("drilled", "drilled_at"))


@click.command("status", cls=Command)
@json_option
@click.option("--nagios", "for_nagios", is_flag=True, help="Print one line for Nagios; exit code 0, 1, 2 or 3.")
def command(as_json: bool, for_nagios: bool) -> int:
    """Tell what is stored and what goes on.

    Works beside a running node, without one, and before anything was stored.
    """
    if for_nagios:
        return _tell_nagios()
    status = _status(load_config())
    if as_json:
        console.print_json(status)
    else:
        for heading, lines in _for_people(status).items():
            console.print_line(heading)
            for name, value in lines:
                console.print_line(f"  {name + ':':<{_WIDTH}}{value}")
    return console.Exit.OK


def _tell_nagios() -> int:
    try:
        config = load_config()
        verdict = nagios.verdict(_status(config), min_free=config.storage.min_free)
    except (PacsNodeError, OSError) as error:
        verdict = nagios.unknown(str(error))
    console.print_line(verdict.line)
    return verdict.code


def _status(config: Config) -> dict[str, Any]:
    (totals, per_day), answer = _totals(config), control.ask(config.node.data)
    free = growth.free_bytes(config)
    path = app.index_path(config)
    findings, complaints = app.known_findings(config)
    backup, stale = _backup(config)
    told: dict[str, Any] = {
        "running": answer is not None,
        "version": __version__,
        "data": str(config.node.data),
        "patients": totals.patients,
        "studies": totals.studies,
        "series": totals.series,
        "instances": totals.instances,
        "stored_bytes": totals.stored_bytes,
        "free_bytes": free,
        "bytes_per_day": round(per_day),
        "days_until_full": round(max(free - config.storage.min_free, 0) / per_day, 1) if per_day else None,
        "index_bytes": _bytes_of(path) + _bytes_of(path.with_name(f"{path.name}-wal")),
        "associations": 0,
        "open_commitments": 0,
        "jobs": {} if answer else _jobs(config),
        "compression": _compression(config),
        "backup": backup,
        "degraded": [],
        "integrity": {"open": dict(findings.open), "closed": dict(findings.closed)},
        **(answer or {}),
    }
    told["degraded"] = [*told["degraded"], *stale, *complaints]
    return told


def _backup(config: Config) -> tuple[dict[str, object], list[str]]:
    """How the backup stands, and why that degrades the node; nothing where there is none."""
    if not config.jobs.backup.target:
        return {}, []
    figures = app.backup(config).figures(app.system_clock())
    told = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(figures).items()
    }
    age = f"{console.span(figures.lag_seconds)} old" if figures.lag_seconds is not None else "missing"
    skipped = f"; {figures.skipped} objects that are damaged here are not in it" if figures.skipped else ""
    failure = f": {figures.failure}" if figures.failure else ""
    return told, [f"the backup is {age}{skipped}{failure}"] if figures.is_stale else []


def _totals(config: Config) -> tuple[Totals, float]:
    """And the bytes that come in a day."""
    if app.is_new(config):
        return Totals(patients=0, studies=0, series=0, instances=0, stored_bytes=0), 0.0
    with app.open_archive(config, read_only=True) as archive:
        return archive.index.totals(), growth.bytes_per_day(archive.index, archive.clock())


def _jobs(config: Config) -> dict[str, dict[str, str | None]]:
    jobs = config.jobs.tables
    with app.known_runs(config) as ledger:
        return ledger.summary(jobs) if ledger else {name: {"last_success": None, "last_result": None} for name in jobs}


def _compression(config: Config) -> dict[str, Any]:
    return overview(app.index_path(config).parent)


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _for_people(status: dict[str, Any]) -> dict[str, list[tuple[str, object]]]:
    """Names and values below their headings."""
    node = [
        ("running", f"{'yes' if status['running'] else 'no'}, version {status['version']}"),
        ("associations", status["associations"]),
        ("open commitments", status["open_commitments"]),
        ("plain text", _named(status.get("plain_text", []))),
        ("degraded", _named(status["degraded"])),
    ]
    archive = [
        ("data", status["data"]),
        *((name, status[name]) for name in ("patients", "studies", "series", "instances")),
        ("stored", console.size(status["stored_bytes"])),
        ("index", console.size(status["index_bytes"])),
        ("free", f"{console.size(status['free_bytes'])}, {_full(status)}"),
        ("integrity", _integrity(status["integrity"])),
        *_compressed(status["compression"]),
    ]
    jobs = [(name, _ran(told)) for name, told in status["jobs"].items()]
    return {"node": node, "archive": archive, "backup": _backed_up(status["backup"]), "jobs": list(jobs)}


def _backed_up(backup: dict[str, Any]) -> list[tuple[str, object]]:
    if not backup:
        return [("state", "none: this node has no backup")]
    state = "never done" if backup["lag_seconds"] is None else f"{console.span(backup['lag_seconds'])} old"
    told: list[tuple[str, object]] = [("state", f"{state}, STALE" if backup["is_stale"] else state)]
    told += [(name, _moment(backup[key])) for name, key in _BACKUP_TIMES]
    if backup["skipped"]:
        told.append(("not in it", f"{backup['skipped']} objects that are damaged here"))
    return [*told, ("last run failed", backup["failure"])] if backup["failure"] else told


def _compressed(gained: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for one in (gained, *gained["by_codec_and_modality"]):
        kind = f"{one['codec']} {one['modality']}" if "codec" in one else "compressed"
        sizes = f"{console.size(one['bytes_before'])} before, {console.size(one['bytes_after'])} after"
        yield kind, f"{one['instances']} instances, {sizes}, ratio {one['ratio']}"
    for reason, count in gained["left_alone"].items():
        yield "left as they came", f"{count}, {reason}"


def _full(status: dict[str, Any]) -> str:
    days = status["days_until_full"]
    if days is None:
        return "nothing came in the last 30 days"
    return f"full in {days:.0f} days at {console.size(status['bytes_per_day'])} a day"


def _ran(told: dict[str, str | None]) -> str:
    result, success = told["last_result"], told["last_success"]
    if result is None:
        return "never ran"
    return f"{result:<11}last success {_moment(success)}"


def _moment(at: str | None) -> str:
    return f"{at[:16].replace('T', ' ')} UTC" if at else "never"


def _named(values: list[str]) -> str:
    more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    return "; ".join(values[-_MOST_NAMED:]) + more or "none"


def _integrity(figures: dict[str, Any]) -> str:
    """What was found, on one line."""
    told = [f"{count} {name}" for name, count in {**figures["open"], **figures["closed"]}.items()]
    return ", ".join(told) or "nothing found"
