"""Compressed images to peers that take native syntaxes alone: decoded on the way, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Scratch
from pacsnode.codec.sandbox import Sandbox
from pacsnode.codec.transcode import Transcoder
from pacsnode.dicom.recode import to_default_syntax
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.model import Arrival, Peer, Uid
from tests.codec.material import CINE, GREY, RGB, SECONDARY_CAPTURE, STUDY, compressed, data_set, faulty, uid_of
from tests.dimse.conftest import AE_TITLE, Nodes, Running
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import EXPLICIT, IMPLICIT, STUDY_GET, Offer, identifier, role
from tests.dimse.test_get import LEVEL, STUDY_UID, getter
from tests.dimse.test_move import dest, destination, failed_uids, move

__all__ = ["destination"]  # fixture

SC = SECONDARY_CAPTURE
KEYS = identifier({LEVEL: "STUDY", STUDY_UID: STUDY})
SHAPES = (GREY, CINE, RGB, GREY)
UNKNOWN = "1.2.840.10008.1.2.4.100"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """With the real codecs."""
    with Sandbox(2) as found:
        yield found


def keep(node: Running, number: int, syntax: str, data: bytes) -> None:
    """Have this data set in the archive."""
    arrival = Arrival(Uid(SC), Uid(uid_of(number)), Uid(syntax), "MODALITY", AE_TITLE, node.archive.clock())
    with node.archive.receive(arrival) as ingest:
        ingest.write(data)
        ingest.commit()


def keep_all(node: Running, sandbox: Sandbox, folder: Path) -> list[bytes]:
    """An image by each codec: what they were before, in Explicit VR Little Endian."""
    originals = []
    for number, (shape, codec) in enumerate(zip(SHAPES, Codec, strict=True), start=1):
        data = data_set(shape, number=number)
        made = compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, codec, sandbox, folder)
        keep(node, number, codec.transfer_syntax_uid, made)
        originals.append(data)
    return originals


def in_syntax(data: bytes, syntax: str) -> bytes:
    """Of explicit VR."""
    if syntax == EXPLICIT:
        return data
    return b"".join(to_default_syntax([data], EXPLICIT_VR_LITTLE_ENDIAN, max_bytes=1 << 30))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_move(syntax: str, nodes: Nodes, destination: Destination, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every image that we can decode comes as it was; one that we cannot fails, and the others go on."""
    transcoder = Transcoder(sandbox, Scratch(tmp_path))
    node = nodes.start(dest(destination), storage=(SC,), transcoding=transcoder)
    originals = keep_all(node, sandbox, tmp_path)
    keep(
        node, 5, UNKNOWN, compressed(data_set(GREY, number=5), EXPLICIT_VR_LITTLE_ENDIAN, Codec.RLE, sandbox, tmp_path)
    )
    destination.takes = lambda offer: offer.transfer_syntaxes == (syntax,)
    final = move(node, KEYS)[-1]

    assert (0xB000, (None, 4, 1, 0)) == (final.status, final.counters)
    assert [uid_of(5)] == failed_uids(final)
    assert [in_syntax(data, syntax) for data in originals] == [got.data_set for got in destination.received]


def test_stored_syntax_first(nodes: Nodes, destination: Destination, sandbox: Sandbox, tmp_path: Path) -> None:
    """A destination that takes everything gets the bytes that are stored, and no codec runs."""
    with Sandbox() as idle:
        node = nodes.start(dest(destination), storage=(SC,), transcoding=Transcoder(idle, Scratch(tmp_path)))
        originals = keep_all(node, sandbox, tmp_path)
        final = move(node, KEYS)[-1]

        assert [] == idle.process_ids()
    assert 0x0000 == final.status
    assert len(originals) == len({received.data_set for received in destination.received} - set(originals))


def test_get(nodes: Nodes, sandbox: Sandbox, tmp_path: Path) -> None:
    """A requester that offers one native syntax gets everything in it."""
    node = nodes.start(storage=(SC,), transcoding=Transcoder(sandbox, Scratch(tmp_path)))
    originals = keep_all(node, sandbox, tmp_path)
    roles = role(SC, scu=0, scp=1)
    with getter(node, Offer(1, STUDY_GET), Offer(3, SC, (IMPLICIT,)), roles=roles) as peer:
        instances, responses = peer.get(1, STUDY_GET, KEYS)

    assert (0x0000, (None, 4, 0, 0)) == (responses[-1].status, responses[-1].counters)
    assert [in_syntax(data, IMPLICIT) for data in originals] == [got.data_set for got in instances]


def test_native_images_in_explicit_vr(nodes: Nodes, destination: Destination) -> None:
    """What is stored in Implicit VR goes in Explicit VR to who takes nothing else: VRs by the dictionary."""
    node = nodes.start(dest(destination), storage=(SC,))
    keep(node, 1, IMPLICIT, data_set(GREY, Uid(IMPLICIT)))
    destination.takes = lambda offer: offer.transfer_syntaxes == (EXPLICIT,)
    final = move(node, KEYS)[-1]
    (received,) = destination.received

    assert 0x0000 == final.status
    assert in_syntax(data_set(GREY), IMPLICIT) == in_syntax(received.data_set or b"", IMPLICIT)


@pytest.mark.parametrize("fault", ["crashes", "short"])
def test_a_codec_that_fails(
    fault: str,
    nodes: Nodes,
    destination: Destination,
    sandbox: Sandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sub-operation has failed, the association lives, and the log says why."""
    with faulty(fault) as bad:
        coder = bad if fault == "short" else _Crashing(bad)
        node = nodes.start(dest(destination), storage=(SC,), transcoding=Transcoder(coder, Scratch(tmp_path)))
        keep_all(node, sandbox, tmp_path)
        keep(node, 9, EXPLICIT, data_set(GREY, number=9))
        destination.takes = lambda offer: offer.transfer_syntaxes == (EXPLICIT,)
        final = move(node, KEYS)[-1]

    assert (0xB000, (None, 1, 4, 0)) == (final.status, final.counters)
    assert [data_set(GREY, number=9)] == [received.data_set for received in destination.received]
    assert 4 == sum("not_transcoded" in record.getMessage() for record in caplog.records)


class _Crashing(Sandbox):
    """Decodes by a codec that crashes when it encodes."""

    def __init__(self, bad: Sandbox) -> None:
        super().__init__()
        self._bad = bad

    def decode(self, transfer_syntax_uid: Uid, pixels: object, stream: bytes) -> bytes:
        """By encoding."""
        return self._bad.encode(Codec.RLE, GREY, stream)


def test_nothing_is_left_on_the_disk(nodes: Nodes, sandbox: Sandbox, tmp_path: Path) -> None:
    """Nothing is written beside the store: temporary files have no names."""
    node = nodes.start(storage=(SC,), transcoding=Transcoder(sandbox, Scratch(tmp_path / "scratch")))
    (tmp_path / "scratch").mkdir()
    keep_all(node, sandbox, tmp_path)
    with getter(node, Offer(1, STUDY_GET), Offer(3, SC, (EXPLICIT,)), roles=role(SC, scu=0, scp=1)) as peer:
        instances, _ = peer.get(1, STUDY_GET, KEYS)

    assert len(SHAPES) == len(instances)
    assert [] == list((tmp_path / "scratch").iterdir())


def test_more_kinds_than_contexts(nodes: Nodes, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every class has its native syntaxes among the contexts, at most 128 of them to an association."""
    with Destination() as destination:
        classes = [f"2.25.7110.{number}" for number in range(60)]
        transcoder = Transcoder(sandbox, Scratch(tmp_path))
        node = nodes.start(Peer("dest", "DEST", "127.0.0.1", destination.port), storage=classes, transcoding=transcoder)
        made = compressed(data_set(GREY), EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path)
        for number, sop_class in enumerate(classes):
            data = made.replace(_uid(0x18, uid_of(1)), _uid(0x18, f"2.25.7111.{number}"))
            data = data.replace(_uid(0x16, SC), _uid(0x16, sop_class))
            arrival = Arrival(
                Uid(sop_class),
                Uid(f"2.25.7111.{number}"),
                Codec.HTJ2K.transfer_syntax_uid,
                "MODALITY",
                AE_TITLE,
                node.archive.clock(),
            )
            with node.archive.receive(arrival) as ingest:
                ingest.write(data)
                ingest.commit()
        destination.takes = lambda offer: offer.transfer_syntaxes == (IMPLICIT,)
        final = move(node, KEYS)[-1]

    assert (0x0000, (None, 60, 0, 0)) == (final.status, final.counters)
    assert [126, 54] == [len(offers) for offers in destination.proposals]


def _uid(number: int, uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x08\0" + bytes([number, 0]) + b"UI" + len(value).to_bytes(2, "little") + value
