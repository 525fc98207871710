"""What the scrub found damaged is not served: it is still found, and its retrieve is a failed sub-operation."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pacsnode.commitment.verdict import Judge
from pacsnode.integrity.ledger import Ledger
from pacsnode.integrity.repair import Repairer
from pacsnode.integrity.scrub import Scrub
from pacsnode.jobs.job import JobReport
from pacsnode.model import Commitment, FailureReason, Level, OneOf, Query, Reference, Transaction, Uid
from pacsnode.storage.filesystem import FilesystemStore
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import CT, STUDY_GET
from tests.dimse.test_get import TWENTY, WHOLE_STUDY, failed_uids, getter, uids
from tests.dimse.test_move import dest, move
from tests.integrity.scene import FULL_PASS, FolderOfCopies, Unlimited, flip_anywhere

DAMAGED = [3, 4, 9, 17]


def scrub(node: Running, copies: Path) -> JobReport:
    """A whole pass."""
    with closing(Ledger(copies.parent / "integrity.db")) as ledger:
        repairer = Repairer(node.archive, {"folder": FolderOfCopies(copies)})
        return Scrub(node.archive, ledger, repairer, full_pass=FULL_PASS).run_whole(Unlimited())


def damage(node: Running, root: Path, copies: Path | None) -> None:
    """Flip a byte in some objects, of which there may be copies."""
    chance = random.Random(3)
    for number in DAMAGED:
        instance = node.archive.index.current(Uid(images.uid_of(number)))
        assert instance is not None
        path = root / "objects" / instance.stored.key
        if copies is not None:
            (copies / instance.stored.digest).write_bytes(path.read_bytes())
        flip_anywhere(path, chance)


def verdict(node: Running, number: int) -> FailureReason | None:
    """What storage commitment says of an image."""
    now = datetime.now(UTC)
    asked = (Reference(Uid(CT), Uid(images.uid_of(number))),)
    commitment = Commitment(Transaction(1, Uid("2.25.1"), "US", "THEM", now), asked, None)
    (reason,) = Judge(node.archive, frozenset({Uid(CT)})).verdict(commitment, lambda: False)
    return reason


def test_nothing_damaged_is_served(nodes: Nodes, tmp_path: Path) -> None:
    """C-GET and C-MOVE say which instances failed, and send none of them; C-FIND has them, a commitment has not."""
    with Destination() as destination:
        node = nodes.start(dest(destination), store=FilesystemStore(tmp_path / "data"))
        node.keep(*TWENTY)
        damage(node, tmp_path / "data", None)
        report = scrub(node, tmp_path / "copies")
        with getter(node) as peer:
            instances, (*_, final) = peer.get(1, STUDY_GET, WHOLE_STUDY)
            peer.release()
        *_, moved = move(node)

        sound = [images.image(number) for number in TWENTY if number not in DAMAGED]
        assert (4, 0) == (report.details["found"], report.details["repaired"])
        assert (sound, uids(DAMAGED)) == ([found.data_set for found in instances], failed_uids(final))
        assert (0xB000, uids(DAMAGED)) == (moved.status, failed_uids(moved))
        assert sound == [received.data_set for received in destination.received]
        found = node.archive.index.count_instances(Query(Level.STUDY, {"study_instance_uid": OneOf((images.STUDY,))}))
        assert 20 == found
        assert (FailureReason.PROCESSING_FAILURE, None) == (verdict(node, 3), verdict(node, 5))


def test_what_was_repaired_is_served(nodes: Nodes, tmp_path: Path) -> None:
    """After a repair every instance comes as it was stored."""
    node = nodes.start(store=FilesystemStore(tmp_path / "data"))
    node.keep(*TWENTY)
    (tmp_path / "copies").mkdir()
    damage(node, tmp_path / "data", tmp_path / "copies")
    report = scrub(node, tmp_path / "copies")
    with getter(node) as peer:
        instances, (*_, final) = peer.get(1, STUDY_GET, WHOLE_STUDY)
        peer.release()

    assert 4 == report.details["repaired"]
    assert (0x0000, [images.image(number) for number in TWENTY]) == (
        final.status,
        [found.data_set for found in instances],
    )
