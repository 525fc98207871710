"""Verbs of ``pacsnode study``: delete, undelete, hold, unhold, and what was deleted."""

from __future__ import annotations

import os
import pwd
import sys
from typing import Any

import click

from pacsnode import app
from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.config import Config, size_text
from pacsnode.errors import PacsNodeError, StudyHeld, StudyNotKept
from pacsnode.model import Uid
from pacsnode.retention import order
from pacsnode.retention.deletions import previewed
from pacsnode.retention.order import DeletionOrder, told
from pacsnode.retention.records import Hold
from pacsnode.service import control

_UID = click.argument("uid", metavar="UID")


def _said(context: click.Context, parameter: click.Parameter, value: str) -> str:
    text = " ".join(value.split())
    if not text or not text.isprintable():
        raise click.BadParameter("say why, in a line")
    return text


_REASON = click.option("--reason", required=True, metavar="TEXT", callback=_said, help="Why; no names of patients.")


@click.command(cls=Command)
@_UID
@_REASON
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and change nothing.")
@json_option
def delete(uid: str, reason: str, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Take a study out of the archive; for a while it can be brought back.

    For the grace of [jobs.retention] it is in the trash, from where `pacsnode study undelete` brings it back. A running
    node is told to do it; without one, its lock is held.
    """
    config = load_config()
    if dry_run or (not (yes or as_json) and sys.stdin.isatty()):
        found = _preview(config, Uid(uid))
        counts = f"{found['instances']} instances, {found['versions']} versions, {size_text(found['bytes'])}"
        if dry_run:
            _print({**found, "dry_run": True}, f"{counts} would be deleted", as_json=as_json)
            return console.Exit.OK
        click.confirm(f"Delete study {uid}: {counts}?", abort=True, err=True)
    done = _do(config, "delete", uid, reason=reason, who=_who())
    text = (
        f"{done['instances']} instances deleted, {size_text(done['bytes'])}; pacsnode study undelete {uid} brings them"
    )
    _print(done, f"{text} back until {done['due']}", as_json=as_json)
    return console.Exit.OK


@click.command(cls=Command)
@_UID
@json_option
def undelete(uid: str, as_json: bool) -> int:
    """Bring a deleted study back from the trash, every byte as it was.

    Exit code 3: some of it is damaged, which goes to quarantine, or is not there any more.
    """
    done = _do(load_config(), "undelete", uid)
    text = f"{done['versions']} instances are back"
    if done["second_copies"]:
        text += f", {done['second_copies']} had come again meanwhile"
    lost = done["damaged"] + done["missing"]
    if lost:
        text += f", {done['damaged']} are damaged and in quarantine, {done['missing']} are not there any more"
    _print(done, text, as_json=as_json)
    return console.Exit.FINDINGS if lost else console.Exit.OK


@click.command(cls=Command)
@_UID
@_REASON
@json_option
def hold(uid: str, reason: str, as_json: bool) -> int:
    """Put a legal hold on a study: nothing deletes it. Works beside a running node."""
    config = load_config()
    with app.open_archive(config, read_only=True) as archive, app.deletions(config, archive) as deletions:
        done = deletions.hold(Uid(uid), reason, _who())
    _print({"study_uid": uid, "hold": hold_json(done)}, f"study {uid} is under a hold", as_json=as_json)
    return console.Exit.OK


@click.command(cls=Command)
@_UID
@json_option
def unhold(uid: str, as_json: bool) -> int:
    """Take the legal hold off a study. Works beside a running node."""
    config = load_config()
    with app.open_archive(config, read_only=True) as archive, app.deletions(config, archive) as deletions:
        deletions.unhold(Uid(uid), _who())
    _print({"study_uid": uid, "hold": None}, f"study {uid} is under no hold any more", as_json=as_json)
    return console.Exit.OK


@click.command(cls=Command)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000), help="Most to be listed.")
@json_option
def deletions(limit: int, as_json: bool) -> int:
    """List the studies that were deleted, newest first, with when they can be brought back until."""
    with app.known_deletions(load_config()) as ledger:
        rows = [told(deletion) for deletion in ledger.deletions(limit)] if ledger else []
    if as_json:
        console.print_json(rows)
        return console.Exit.OK
    columns = ("study_uid", "state", "deleted_at", "due", "instances", "bytes", "who", "reason")
    headings = ("STUDY", "STATE", "DELETED", "DUE", "INSTANCES", "BYTES", "WHO", "REASON")
    console.print_table(headings, [[row[column] for column in columns] for row in rows])
    return console.Exit.OK


COMMANDS: tuple[click.Command, ...] = (delete, undelete, hold, unhold, deletions)


def hold_on(config: Config, uid: str) -> Hold | None:
    """The hold that is on the study."""
    with app.known_deletions(config) as ledger:
        return ledger.hold_on(Uid(uid)) if ledger else None


def hold_json(hold: Hold | None) -> dict[str, object] | None:
    """A hold as JSON has it."""
    if hold is None:
        return None
    return {"reason": hold.reason, "who": hold.who, "since": hold.at.isoformat(timespec="seconds")}


def _preview(config: Config, uid: Uid) -> dict[str, Any]:
    on_it = hold_on(config, uid)
    if on_it is not None:
        raise StudyHeld(f"study {uid} is under a hold of {on_it.who}: {on_it.reason}")
    if app.is_new(config):
        raise StudyNotKept(f"no study {uid} is stored here; see: pacsnode study list")
    with app.open_archive(config, read_only=True) as archive:
        found = previewed(uid, archive.index.of_study(uid))
    return {"study_uid": uid, "instances": found.instances, "versions": found.versions, "bytes": found.size}


def _do(config: Config, what: str, uid: str, **details: str) -> dict[str, Any]:
    """Through the running node, or by ourselves."""
    answers: list[dict[str, Any]] = []
    lines = control.order(config.node.data, order.NAME, do=what, study=uid, **details)
    if lines is not None:
        answers.extend(lines)
    else:
        with (
            app.open_archive(config, read_only=False) as archive,
            app.audited_deletions(config, archive) as found,
        ):
            DeletionOrder(found)({"do": what, "study": uid, **details}, answers.append)
    if not answers:
        raise PacsNodeError("the node ended before it was done; it is completed when it starts; look into its log")
    if "error" in answers[-1]:
        raise PacsNodeError(str(answers[-1]["error"]))
    done: dict[str, Any] = answers[-1]["done"]
    return done


def _print(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        console.print_json(value)
    else:
        console.print_line(text)


def _who() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
