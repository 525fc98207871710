"""``pacsnode audit``: is the trail what was written, and what does it say?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import click

from pacsnode import app
from pacsnode.audit import chain, files, keys
from pacsnode.audit import opening as audit
from pacsnode.audit.verify import Verdict, verify
from pacsnode.cli import console
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.errors import AuditFailure


@click.group("audit", cls=Group)
def command() -> None:
    """Check and show the audit trail."""


@command.command("verify")
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The public key, as it was put away elsewhere; else the one beside the trail.",
)
@json_option
def verify_trail(key: Path | None, as_json: bool) -> int:
    """Check every byte of the audit trail.

    Works beside a running node, and changes nothing. What a power cut left of a last record is told, and is no finding.
    """
    path = audit.trail_path(load_config())
    public = keys.public_key(key or keys.public_path(path.parent))
    with console.progress("verify") as advance:
        verdict = verify(path, public, advance)
    if as_json:
        console.print_json(_verdict(verdict, keys.fingerprint(public)))
    else:
        for flaw in verdict.flaws:
            where = f"record {flaw.sequence}" if flaw.sequence else "-"
            console.print_line(f"{flaw.file} at byte {flaw.offset}  {where}  {flaw.problem}")
        if verdict.torn_bytes:
            console.print_line(f"{verdict.torn_bytes} bytes of a record that was not written to its end")
        console.print_line(
            f"{verdict.records} records checked, {verdict.messages} of them messages, sealed up to {verdict.sealed} "
            f"by key {keys.fingerprint(public)[:16]}, {len(verdict.flaws)} findings"
        )
    return console.Exit.FINDINGS if verdict.flaws else console.Exit.OK


@command.command()
@click.option("-n", "count", metavar="N", type=click.IntRange(min=1), default=20, help="How many: 20 by default.")
@json_option
def tail(count: int, as_json: bool) -> int:
    """Show the last messages of the audit trail.

    Patients are told by their IDs. That somebody looked is recorded, too.
    """
    config = load_config()
    path = audit.trail_path(config)
    try:
        shown = list(deque(_messages(path), maxlen=count))
    except OSError as error:
        raise AuditFailure(f"{path}: cannot be read: {error.strerror}") from error
    with audit.commanded(config, app.system_clock) as recorder:
        recorder.log_used(path.absolute().as_uri())
    if as_json:
        console.print_json([{"sequence": one.sequence, "message": one.xml.decode("utf-8", "replace")} for one in shown])
        return console.Exit.OK
    headings = ("RECORD", "TIME", "EVENT", "ACTION", "OUTCOME", "WHO", "ABOUT")
    console.print_table(headings, [(one.sequence, *_summary(one.xml)) for one in shown])
    return console.Exit.OK


class _Shown(NamedTuple):
    sequence: int
    xml: bytes


def _messages(path: Path) -> Iterator[_Shown]:
    for _, _, line in files.lines(path):
        record = chain.decode(line)
        if record is not None and record.kind == chain.MESSAGE:
            yield _Shown(record.link.sequence, record.payload)


def _summary(xml: bytes) -> tuple[str, str, str, str, str, str]:
    """Time, event, action, outcome, who, about what."""
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314 - our own file, and expat expands no external entities
    except ElementTree.ParseError:
        return "", "not readable: pacsnode audit verify tells more", "", "", "", ""
    event = root.find("EventIdentification")
    said = event.attrib if event is not None else {}
    kinds = [code.get("originalText", "") for code in root.iterfind("EventIdentification/*[@originalText]")]
    people = [one.get("UserID", "") for one in root.iterfind("ActiveParticipant[@UserIsRequestor='true']")]
    about = [one.get("ParticipantObjectID", "") for one in root.iterfind("ParticipantObjectIdentification")]
    return (
        said.get("EventDateTime", ""),
        ", ".join(kinds),
        said.get("EventActionCode", ""),
        said.get("EventOutcomeIndicator", ""),
        ", ".join(people),
        " ".join(filter(None, about)),
    )


def _verdict(verdict: Verdict, fingerprint: str) -> dict[str, object]:
    return {
        "records": verdict.records,
        "messages": verdict.messages,
        "sealed": verdict.sealed,
        "key": fingerprint,
        "torn_bytes": verdict.torn_bytes,
        "findings": [
            {"file": flaw.file, "offset": flaw.offset, "sequence": flaw.sequence, "problem": flaw.problem}
            for flaw in verdict.flaws
        ],
    }
