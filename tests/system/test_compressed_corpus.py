"""Every real file is stored, the node compresses what it can, and a peer that knows native syntaxes alone asks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Scratch, open_image
from pacsnode.codec.sandbox import Sandbox
from pacsnode.compression.database import STATE_FILE, CompressionState
from pacsnode.dicom import part10, syntax
from pacsnode.dicom.recode import to_default_syntax
from pacsnode.errors import CodecFailure, ObjectDamaged
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance, Uid
from tests.codec.pixels import pixel_digest
from tests.system import material, pynetdicom_scu
from tests.system.live import LiveNode
from tests.system.material import Sample
from tests.system.pynetdicom_scu import Received

SAMPLES = material.real()
TABLES = '[jobs.compression]\nenabled = false\nolder_than = "0 s"\nkeep_original = "none"\n'
HTJ2K = Codec.HTJ2K

pytestmark = pytest.mark.skipif(not SAMPLES, reason="the folder of real files, shared/dicom, is not beside the project")


class Kept(Received):
    """What comes, by UID: transfer syntax and data set."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, tuple[str, bytes]] = {}

    def take(self, event: Any) -> int:
        """See Received.take."""
        data = event.request.DataSet.getvalue()
        self.found[str(event.request.AffectedSOPInstanceUID)] = str(event.context.transfer_syntax), data
        return 0x0000


@dataclass(frozen=True)
class Corpus:
    """The node after its job; of each UID the file that was stored last; rows before and after."""

    node: LiveNode
    sent: dict[str, Sample]
    before: list[Instance]
    after: list[Instance]
    report: dict[str, Any]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    with LiveNode(tmp_path_factory.mktemp("compressed"), TABLES) as node:
        sent: dict[str, Sample] = {}
        pairs = [(sample.sop_class_uid, sample.transfer_syntax_uid) for sample in SAMPLES]
        with pynetdicom_scu.associated(node.port, pairs, Received()) as association:
            for sample in SAMPLES:
                if pynetdicom_scu.store(association, sample) == 0:
                    sent[sample.sop_instance_uid] = sample
        before = rows(node)
        report = json.loads(node.run("job", "run", "compression", "--json"))
        yield Corpus(node, sent, before, rows(node), report)


def rows(node: LiveNode) -> list[Instance]:
    """All versions, in order of arrival."""
    with closing(SqliteIndex(node.folder / "data" / "index.db", read_only=True)) as index:
        return list(index.everything())


def data_set(sample: Sample) -> bytes:
    """As it was sent."""
    with sample.path.open("rb") as file:
        file.seek(part10.read_foreign_head(file).offset)
        return file.read()


def pixels(data: bytes, transfer_syntax: str, coder: Sandbox, folder: Path) -> str:
    """Digest of the native pixels; "" where there are none, or none that we can read."""
    try:
        with open_image(io.BytesIO(data), len(data), Uid(transfer_syntax), Scratch(folder)) as image:
            return pixel_digest(image, coder)
    except (CodecFailure, ObjectDamaged):
        return ""


def plain(data: bytes, transfer_syntax: str) -> bytes:
    """In Implicit VR Little Endian without lengths of sequences."""
    return b"".join(to_default_syntax([data], Uid(transfer_syntax), max_bytes=1 << 30))


@pytest.mark.timeout(300)
def test_each_was_swapped_or_has_a_reason(corpus: Corpus) -> None:
    """Of what came native, all is HTJ2K now or is left alone for a reason that is kept; nothing else has moved."""
    swapped = kept_as_it_is = 0
    with closing(CompressionState(corpus.node.folder / "data" / STATE_FILE)) as state:
        for old, new in zip(corpus.before, corpus.after, strict=True):
            assert old.header == new.header
            if syntax.is_encapsulated(old.stored.transfer_syntax_uid):
                assert old == new
            elif new.stored.transfer_syntax_uid == HTJ2K.transfer_syntax_uid:
                swapped += 1
                assert state.refusal(old.stored.digest, HTJ2K.value) is None
            else:
                kept_as_it_is += 1
                assert old == new
                refusal = state.refusal(old.stored.digest, HTJ2K.value)
                assert refusal is not None
                assert refusal.reason

    assert (swapped, kept_as_it_is, 0) == (corpus.report["done"], corpus.report["skipped"], corpus.report["failed"])
    assert swapped > 200
    assert kept_as_it_is == sum(json.loads(corpus.node.run("status", "--json"))["compression"]["left_alone"].values())


@pytest.mark.timeout(300)
def test_the_pixels_that_were_sent_come_back(corpus: Corpus, tmp_path: Path) -> None:
    """By C-GET in Explicit VR Little Endian: the pixels of every file, and the data set of all that came native; what
    nobody can decode fails, and nothing else does."""
    kept = Kept()
    pairs = [(sample.sop_class_uid, syntax.EXPLICIT_VR_LITTLE_ENDIAN) for sample in corpus.sent.values()]
    with pynetdicom_scu.associated(corpus.node.port, pairs, kept) as association:
        statuses = {uid: pynetdicom_scu.get_instance(association, uid) for uid in corpus.sent}
    wrong: list[str] = []
    with Sandbox() as coder:
        for uid, sample in corpus.sent.items():
            sent, sent_syntax = data_set(sample), sample.transfer_syntax_uid
            expected = pixels(sent, sent_syntax, coder, tmp_path)
            if syntax.is_encapsulated(Uid(sent_syntax)) and not expected:
                if statuses[uid] == 0 or uid in kept.found:
                    wrong.append(f"{sample.path}: came, though its pixels cannot be read")
                continue
            if statuses[uid] or uid not in kept.found:
                wrong.append(f"{sample.path}: status {statuses[uid]:04X}")
                continue
            came_as, came = kept.found[uid]
            if came_as != syntax.EXPLICIT_VR_LITTLE_ENDIAN or pixels(came, came_as, coder, tmp_path) != expected:
                wrong.append(f"{sample.path}: other pixels")
            elif not syntax.is_encapsulated(Uid(sent_syntax)) and plain(sent, sent_syntax) != plain(came, came_as):
                wrong.append(f"{sample.path}: another data set")

    assert [] == wrong
    assert len(kept.found) > 400
