"""``pacsnode status``: what is stored and what goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from pacsnode import __version__, app
from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.compression.overview import overview
from pacsnode.config import Config
from pacsnode.model import Totals
from pacsnode.service import control


@click.command("status", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """Tell what is stored and what goes on.

    Works beside a running node, without one, and before anything was stored.
    """
    config = load_config()
    status = _status(config)
    if as_json:
        console.print_json(status)
    else:
        for name, value in status.items():
            if name not in ("jobs", "compression"):
                console.print_line(f"{name.replace('_', ' ')}: {_for_people(value)}")
        _print_jobs(status["jobs"])
        _print_compression(_compression(config))
    return console.Exit.OK


def _status(config: Config) -> dict[str, object]:
    totals, answer = _totals(config), control.ask(config.node.data)
    path = app.index_path(config)
    return {
        "running": answer is not None,
        "version": __version__,
        "data": str(config.node.data),
        "patients": totals.patients,
        "studies": totals.studies,
        "series": totals.series,
        "instances": totals.instances,
        "stored_bytes": totals.stored_bytes,
        "free_bytes": _free_bytes(config.node.data),
        "index_bytes": _bytes_of(path) + _bytes_of(path.with_name(f"{path.name}-wal")),
        "associations": 0,
        "open_commitments": 0,
        "jobs": {} if answer else _jobs(config),
        "compression": _compression(config),
        "degraded": [],
        **(answer or {}),
    }


def _totals(config: Config) -> Totals:
    if app.is_new(config):
        return Totals(patients=0, studies=0, series=0, instances=0, stored_bytes=0)
    with app.open_archive(config, read_only=True) as archive:
        return archive.index.totals()


def _jobs(config: Config) -> dict[str, dict[str, str | None]]:
    jobs = config.jobs.tables
    with app.known_runs(config) as ledger:
        return ledger.summary(jobs) if ledger else {name: {"last_success": None, "last_result": None} for name in jobs}


def _compression(config: Config) -> dict[str, Any]:
    return overview(app.index_path(config).parent)


def _print_compression(gained: dict[str, Any]) -> None:
    for one in (gained, *gained["by_codec_and_modality"]):
        kind = " ".join(filter(None, (one.get("codec"), one.get("modality"))))
        sizes = f"{one['bytes_before']} bytes before, {one['bytes_after']} after, ratio {one['ratio']}"
        console.print_line(f"compressed{' ' * bool(kind)}{kind}: {one['instances']} instances, {sizes}")
    for reason, count in gained["left_alone"].items():
        console.print_line(f"left as they came: {count}, {reason}")


def _print_jobs(jobs: object) -> None:
    for name, told in jobs.items() if isinstance(jobs, dict) else ():
        success, result = told["last_success"] or "never", told["last_result"] or "none"
        console.print_line(f"job {name}: last success {success}, last result {result}")


def _free_bytes(data: Path) -> int:
    """Of the file system that the data folder is on, or would be."""
    nearest = next(folder for folder in (data, *data.parents) if folder.exists())
    return shutil.disk_usage(nearest).free


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _for_people(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) or "none"
    return str(value)
