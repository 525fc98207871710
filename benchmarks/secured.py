"""C-STORE over TLS 1.3 beside the same in plain text, to the same node in turn: what TLS costs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import senders, servers
from benchmarks.certificates import Authority, CannotCertify
from benchmarks.connection import Writing
from benchmarks.dataset import CT, MR, Plan
from benchmarks.figures import Figure, Tally
from benchmarks.loadgen import Called, Papers
from benchmarks.receive import Cell, batches
from benchmarks.servers import CannotStart
from benchmarks.stage import Stage

PLAIN, SECURED = "plain text", "TLS 1.3"
_PER_SERIES = 100


def cells() -> Iterator[Cell]:
    """CT- and MR-sized instances, over one and over four associations."""
    for image in (CT, MR):
        for associations in (1, 4):
            yield Cell(image, associations, Writing.GATHERED)


def run(stage: Stage) -> list[Figure]:
    """Every round has a new node, to which each cell is sent by both, the one that begins changing."""
    tally = Tally()
    for number in range(stage.settings.rounds):
        with _running(stage.folder / f"tls-{number}") as callings:
            for cell in cells():
                stage.say(f"tls, round {number + 1}: {cell.name}")
                for subject in sorted(callings, reverse=bool(number % 2)):
                    plan = Plan(cell.image, stage.new_root(), per_series=_PER_SERIES)
                    parts = batches(plan, cell.instances(stage.settings), cell.associations)
                    tally.add_sent(cell.name, subject, senders.send(callings[subject], parts, cell.writing))
    return tally.figures()


@contextmanager
def _running(folder: Path) -> Iterator[dict[str, Called]]:
    """A node, and how it is called. Raises CannotStart."""
    folder.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory() as place:
            try:
                authority = Authority(Path(place))
                node, modality = authority.issue("node"), authority.issue("modality")
            except CannotCertify as error:
                raise CannotStart(str(error)) from error
            papers = Papers(authority.certificate, modality.certificate, modality.key)
            with servers.pacsnode_with_tls(folder, node, authority.certificate) as server:
                if server.tls is None:
                    raise CannotStart("the node does not listen for TLS")
                yield {PLAIN: server.called, SECURED: replace(server.tls, papers=papers)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
