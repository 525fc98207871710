"""Every operation has exactly one message: a random run, compared with what was done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pacsnode.app import system_clock
from pacsnode.audit import keys
from pacsnode.audit.events import Narrator
from pacsnode.audit.journal import Journal
from pacsnode.audit.recorder import Recorder
from pacsnode.audit.trail import Trail
from pacsnode.audit.verify import verify
from pacsnode.model import Peer
from tests.audit.schema import Told, messages, told
from tests.cli import folder as files
from tests.cli.folder import Folder
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, nodes, serving_threads  # noqa: F401 - a fixture
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    C_FIND,
    C_MOVE,
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    identifier,
    role,
)

OPERATIONS = 1_000
TRANSFERRED, BEGIN = "DICOM Instances Transferred", "Begin Transferring DICOM Instances"
Line = tuple[str, str, str, str, int]
"""Event, action, outcome, study (or SOP class, of a query), instances."""


class Run:
    """Does one operation after the other, and notes what has to be on record."""

    def __init__(self, node: Running, folder: Folder, chance: random.Random) -> None:
        self.node, self.folder, self.chance = node, folder, chance
        self.expected: Counter[Line] = Counter()
        self.studies: list[tuple[str, int]] = []
        self.imported: list[str] = []
        self._number = 0

    def echo(self) -> None:
        """Has no message in the standard."""
        assert self.node.echoes()

    def store(self) -> None:
        """Some images of a new study over one association."""
        study, count = self.new_study(), self.chance.randrange(1, 6)
        self._send(study, [self._next() for _ in range(count)])
        self.studies.append((study, count))
        self.expected[TRANSFERRED, "C", "0", study, count] += 1

    def store_two_studies(self) -> None:
        """A message for each study, sent over one association."""
        first, second = self.new_study(), self.new_study()
        with self.node.connect(Offer(1, CT, (EXPLICIT,))) as peer:
            for study in (first, second, first):
                number = self._next()
                uid = f"{study}.{number}"
                assert peer.store(1, CT, uid, images.image(number, uid=uid, study=study)).status == 0
            peer.release()
        self.studies += [(first, 2), (second, 1)]
        self.expected[TRANSFERRED, "C", "0", first, 2] += 1
        self.expected[TRANSFERRED, "C", "0", second, 1] += 1

    def refused_store(self) -> None:
        """Something that is no image."""
        with self.node.connect(Offer(1, CT, (EXPLICIT,))) as peer:
            assert peer.store(1, CT, "1.2.3", b"nonsense").status
            peer.release()
        self.expected[TRANSFERRED, "C", "4", CT, 1] += 1

    def find(self) -> None:
        """A query."""
        with self.node.connect(Offer(1, STUDY_FIND)) as peer:
            peer.start_query(1, C_FIND, STUDY_FIND, identifier({0x00080052: "STUDY", 0x00100020: "*", 0x0020000D: ""}))
            assert peer.responses()[-1].status == 0
            peer.release()
        self.expected["Query", "E", "0", STUDY_FIND, 0] += 1

    def get(self) -> None:
        """A study, back to who asks."""
        study, count = self.chance.choice(self.studies)
        with RawPeer(self.node.port) as peer:
            offers = (Offer(1, STUDY_GET), Offer(3, CT, (EXPLICIT,)))
            peer.associate(request=associate_rq(offers, user_items=role(CT, scu=0, scp=1)))
            instances, _ = peer.get(1, STUDY_GET, identifier({0x00080052: "STUDY", 0x0020000D: study}))
            peer.release()
        assert count == len(instances)
        self._sent(study, count)

    def move(self) -> None:
        """A study to somebody else."""
        study, count = self.chance.choice(self.studies)
        assert self._move(study, "DEST") == 0
        self._sent(study, count)

    def move_to_nobody(self) -> None:
        """A destination that is not known."""
        study, _ = self.chance.choice(self.studies)
        assert self._move(study, "NOBODY") == 0xA801
        self.expected[TRANSFERRED, "R", "4", study, 0] += 1

    def refused(self) -> None:
        """An association that names somebody else."""
        with RawPeer(self.node.port) as peer, pytest.raises(Rejected):
            peer.associate(request=associate_rq((Offer(1, CT),), called=b"ELSEWHERE"))
        self.expected["Security Alert", "E", "4", "127.0.0.1", 0] += 1

    def import_files(self) -> None:
        """A file, by the command."""
        study = self.new_study()
        path = self.folder.path / f"{self._next()}.dcm"
        path.write_bytes(files.image(f"{study}.1", study=study))
        assert self.folder.run("import", path).exit_code == 0
        self.imported.append(study)
        self.expected["Import", "C", "0", study, 1] += 1

    def export(self) -> None:
        """A study, by the command."""
        if not self.imported:
            return self.import_files()
        study = self.chance.choice(self.imported)
        assert self.folder.run("study", "export", study, self.folder.path / f"out{self._next()}").exit_code == 0
        self.expected["Export", "R", "0", study, 1] += 1
        return None

    def new_study(self) -> str:
        """A Study Instance UID that nothing has yet."""
        return f"2.25.{self._next() + 1000}"

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _send(self, study: str, numbers: list[int]) -> None:
        with self.node.connect(Offer(1, CT, (EXPLICIT,))) as peer:
            for number in numbers:
                uid = f"{study}.{number}"
                assert peer.store(1, CT, uid, images.image(number, uid=uid, study=study)).status == 0
            peer.release()

    def _move(self, study: str, to: str) -> int | None:
        with self.node.connect(Offer(1, STUDY_MOVE)) as peer:
            keys = identifier({0x00080052: "STUDY", 0x0020000D: study})
            peer.start_query(1, C_MOVE, STUDY_MOVE, keys, destination=to)
            answers = peer.responses()
            peer.release()
        return answers[-1].status

    def _sent(self, study: str, count: int) -> None:
        self.expected[BEGIN, "E", "0", study, 0] += 1
        self.expected[TRANSFERRED, "R", "0", study, count] += 1


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A node of its own for the commands, with the same trail."""
    (tmp_path / "offline").mkdir()
    return Folder(tmp_path / "offline", f'[audit]\nfile = "{tmp_path / "audit" / "audit.log"}"\nrotate = "200 KiB"\n')


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """What writes the trail, stopped at the end of the test."""
    trail = Trail(tmp_path / "audit" / "audit.log", rotate_bytes=200 * 1024)
    yield Journal(trail)
    trail.close()


@pytest.fixture
def recorder(journal: Journal) -> Recorder:
    """What the services tell goes to the journal, which has begun to write."""
    made = Recorder(journal, Narrator("PACSNODE"), system_clock)
    journal.start(made.flush, made.lost)
    return made


def line(said: Told) -> Line:
    """What is compared of a message."""
    return said.event, said.action, said.outcome, said.subjects[0] if said.subjects else "", said.instances


def test_thousand_operations(
    nodes: Nodes,  # noqa: F811
    folder: Folder,
    journal: Journal,
    recorder: Recorder,
    tmp_path: Path,
) -> None:
    """After 1,000 random operations each has one valid message of each kind that the standard asks for, no other."""
    with Destination() as destination:
        node = nodes.start(Peer("dest", "DEST", "127.0.0.1", destination.port), audit=recorder)
        run = Run(node, folder, random.Random(11))
        frequent: list[Callable[[], None]] = [run.store, run.store_two_studies, run.find, run.get, run.move, run.echo]
        rare: list[Callable[[], None]] = [run.refused, run.refused_store, run.move_to_nobody]
        commands: list[Callable[[], None]] = [run.import_files, run.export]
        run.store()
        for _ in range(OPERATIONS - 1):
            (operation,) = run.chance.choices([*frequent, *rare, *commands], [6] * 6 + [3] * 3 + [1] * 2)
            operation()
        assert eventually(lambda: not serving_threads())
        journal.stop()

    path = tmp_path / "audit" / "audit.log"
    assert run.expected == Counter(map(line, told(path)))
    assert [] == verify(path, keys.public_key(path.parent)).flaws


def test_no_patient_names(
    nodes: Nodes,  # noqa: F811
    journal: Journal,
    recorder: Recorder,
    tmp_path: Path,
) -> None:
    """The trail tells a patient by its ID alone."""
    node = nodes.start(audit=recorder)
    with node.connect(Offer(1, CT, (EXPLICIT,))) as peer:
        data = images.image(1, name=b"MARKER^NAME", patient_id=b"ID4711")
        assert peer.store(1, CT, images.uid_of(1), data).status == 0
        peer.release()
    assert eventually(lambda: not serving_threads())
    journal.stop()

    (xml,) = messages(tmp_path / "audit" / "audit.log")
    assert b"ID4711" in xml
    assert b"MARKER" not in xml
