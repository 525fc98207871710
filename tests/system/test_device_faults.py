"""What real devices send against the standard: taken where it harms nobody, kept bit by bit, and found again."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pacsnode.model import Uid
from tests.dicom.dataset_bytes import Branch, Leaf, Node, Pixels, encode
from tests.dimse.raw_peer import (
    BIG_ENDIAN,
    C_FIND,
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    identifier,
    parse_elements,
    role,
)
from tests.system.live import LiveNode

ROOT = "2.25.7007"
SOP_CLASS_UID, INSTANCE_UID, STUDY_UID, SERIES_UID, LEVEL = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080052
PATIENT_NAME, INSTANCE_NUMBER, STUDY_DATE, PIXELS = 0x00100010, 0x00200013, 0x00080020, 0x7FE00010
GE_IMPLICIT, GE_EXPRESS = "1.2.840.113619.5.2", "2.16.840.1.113709.1.2.2"
PATIENCE = 1.0
Fault = Callable[[list[Node]], Iterable[Node]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node that answers to any title, and that waits only a second for who says nothing."""
    tables = f'[access]\nmatch_called_ae = false\n[limits]\nidle = "{PATIENCE:g} s"\n'
    with LiveNode(tmp_path_factory.mktemp("devices"), tables) as live:
        yield live


def uid(part: int, number: int = 1) -> str:
    """A UID of the samples."""
    return f"{ROOT}.{part}.{number}"


def raw(text: str) -> bytes:
    """A UID with the padding of PS3.5."""
    return text.encode() + b"\0" * (len(text) % 2)


def leaves(number: int, *, study: int = 1, series: int = 1, name: bytes = b"Made^Up ") -> list[Node]:
    """The elements of a proper image."""
    return [
        Leaf(SOP_CLASS_UID, "UI", raw(CT)),
        Leaf(INSTANCE_UID, "UI", raw(uid(3, number))),
        Leaf(STUDY_DATE, "DA", b"20240102"),
        Leaf(0x00080060, "CS", b"CT"),
        Leaf(PATIENT_NAME, "PN", name),
        Leaf(0x00100020, "LO", b"P1"),
        Leaf(STUDY_UID, "UI", raw(uid(1, study))),
        Leaf(SERIES_UID, "UI", raw(uid(2, series))),
        Leaf(INSTANCE_NUMBER, "IS", b"1 "),
        Leaf(PIXELS, "OW", b"\1\2\3\4"),
    ]


@contextmanager
def peer_of(
    node: LiveNode, *offers: Offer, called: bytes = b"PACSNODE", calling: bytes = b"DEVICE"
) -> Iterator[RawPeer]:
    """An association that may store, find and get."""
    with RawPeer(node.port) as peer:
        everything = (Offer(1, STUDY_FIND), Offer(3, STUDY_GET), *offers)
        roles = role(CT, scu=1, scp=1)
        peer.associate(request=associate_rq(everything, user_items=roles, called=called, calling=calling))
        yield peer
        peer.release()


def fetched(peer: RawPeer, instance: str) -> list[bytes | None]:
    """The data sets that a C-GET of the instance brings, in whichever context."""
    instances, responses = peer.get(3, STUDY_GET, identifier({LEVEL: "IMAGE", INSTANCE_UID: instance}))
    assert 0 == responses[-1].status
    return [found.data_set for found in instances]


def found(peer: RawPeer, level: str, **keys: str) -> list[dict[int, bytes]]:
    """The matches of a C-FIND; ``keys`` by tag in hexadecimal, after an underscore."""
    tags = {int(tag[1:], 16): text for tag, text in keys.items()}
    peer.start_query(1, C_FIND, STUDY_FIND, identifier({LEVEL: level, **tags}))
    return [parse_elements(answer.data_set) for answer in peer.responses() if answer.data_set is not None]


def replaced(tag: int, vr: str, value: bytes) -> Fault:
    """The element is there, but otherwise."""
    return lambda proper: [Leaf(tag, vr, value) if getattr(leaf, "tag", 0) == tag else leaf for leaf in proper]


def padded(tag: int, padding: bytes) -> Fault:
    """The UID has this padding instead of its own."""
    return lambda proper: [
        Leaf(tag, "UI", leaf.value.rstrip(b"\0") + padding) if isinstance(leaf, Leaf) and leaf.tag == tag else leaf
        for leaf in proper
    ]


def besides(*more: Node) -> Fault:
    """Further elements, at the end."""
    return lambda proper: [*proper, *more]


def _with_group_lengths(proper: list[Node]) -> list[Node]:
    """One for each group, none of them right."""
    tags = [leaf.tag for leaf in proper if isinstance(leaf, Leaf)]
    lengths = [Leaf(group << 16, "UL", struct.pack("<I", 4711)) for group in sorted({tag >> 16 for tag in tags})]
    return sorted([*proper, *lengths], key=lambda node: getattr(node, "tag", 0))


FILE_META = (
    Leaf(0x00020000, "UL", struct.pack("<I", 28)),
    Leaf(0x00020001, "OB", b"\0\1"),
    Leaf(0x00020010, "UI", raw(JPEG_BASELINE)),
)
UNDEFINED_UN = Branch(0x00091001, ((Leaf(0x00091002, "LO", b"x "),),), False, False, vr="UN")
FAULTS: dict[str, Fault] = {
    "SOP Instance UID with NULs": padded(INSTANCE_UID, b"\0\0\0\0"),
    "SOP Instance UID with blanks": padded(INSTANCE_UID, b"  "),
    "SOP Instance UID of odd length": padded(INSTANCE_UID, b""),
    "SOP Class UID with a blank": padded(SOP_CLASS_UID, b" "),
    "Study Instance UID with NULs and blanks": padded(STUDY_UID, b"\0 \0"),
    "Series Instance UID with a blank": padded(SERIES_UID, b" "),
    "text of odd length": besides(Leaf(0x00181030, "LO", b"odd")),
    "Pixel Data of odd length": replaced(PIXELS, "OW", b"\1\2\3"),
    "fragment of odd length": lambda proper: [*proper[:-1], Pixels((b"", b"\1\2\3"))],
    "group lengths that are wrong": _with_group_lengths,
    "group 0002 in front": lambda proper: [*FILE_META, *proper],
    "group 0002 at the end": besides(*FILE_META),
    "elements in reverse order": lambda proper: proper[::-1],
    "pixels before the patient": lambda proper: [proper[-1], *proper[:-1]],
    "VR that there is not": besides(Leaf(0x00091001, "ZZ", b"what")),
    "VR of question marks": besides(Leaf(0x00091001, "??", b"what")),
    "name as LO": replaced(PATIENT_NAME, "LO", b"Made^Up "),
    "name as UN": replaced(PATIENT_NAME, "UN", b"Made^Up "),
    "Instance Number as US": replaced(INSTANCE_NUMBER, "US", b"\1\0"),
    "Instance Number with a fraction": replaced(INSTANCE_NUMBER, "IS", b"1.5 "),
    "date as of ACR-NEMA": replaced(STUDY_DATE, "DA", b"2024.01.02"),
    "date of words": replaced(STUDY_DATE, "LO", b"yesterday "),
    "name with a NUL": replaced(PATIENT_NAME, "PN", b"Made^Up\0"),
    "name in Latin-1 without a character set": replaced(PATIENT_NAME, "PN", "Müller^Jörg ".encode("latin-1")),
    "character set that there is not": lambda proper: [Leaf(0x00080005, "CS", b"ISO-IR 999"), *proper],
    "empty character set": lambda proper: [Leaf(0x00080005, "CS", b""), *proper],
    "private element without a creator": besides(Leaf(0x00111001, "LO", b"mine")),
    "private creator twice": besides(Leaf(0x00110010, "LO", b"GEMS"), Leaf(0x00110010, "LO", b"GEMS")),
    "UN of undefined length": besides(UNDEFINED_UN),
    "trailing padding": besides(Leaf(0xFFFCFFFC, "OB", bytes(10))),
    "no pixels": lambda proper: proper[:-1],
    "tag of a retired command element": besides(Leaf(0x00081000, "LO", b"recognition ")),
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("fault", FAULTS)
def test_taken(node: LiveNode, fault: str, syntax: str) -> None:
    """0000, the same bytes by C-GET, and a match for the SOP Instance UID without padding."""
    number = 100 + 3 * [*FAULTS].index(fault) + (EXPLICIT, IMPLICIT, BIG_ENDIAN).index(syntax)
    data = encode(list(FAULTS[fault](leaves(number))), Uid(syntax))
    with peer_of(node, Offer(5, CT, (syntax,))) as peer:
        status = peer.store(5, CT, uid(3, number), data).status
        back = fetched(peer, uid(3, number))
        matches = found(peer, "IMAGE", _00080018=uid(3, number), _0020000D="", _0020000E="")

    assert (0x0000, [data]) == (status, back)
    assert [(raw(uid(1)), raw(uid(2)))] == [(match[STUDY_UID], match[SERIES_UID]) for match in matches]


def test_zeros_behind_the_end(node: LiveNode) -> None:
    """Buffers that are sent whole: zeros after the last element stay where they are."""
    data = encode(leaves(8), Uid(EXPLICIT)) + bytes(64)
    with peer_of(node, Offer(5, CT, (EXPLICIT,))) as peer:
        status = peer.store(5, CT, uid(3, 8), data).status
        back = fetched(peer, uid(3, 8))

    assert (0x0000, [data]) == (status, back)


NOT_TAKEN = {
    "SOP Class UID missing": (lambda data: data[8 + len(raw(CT)) :], 0xC001),
    "whole Part 10 file": (lambda data: bytes(128) + b"DICM" + encode(FILE_META, Uid(EXPLICIT)) + data, 0xC000),
}


@pytest.mark.parametrize(("spoilt", "status"), NOT_TAKEN.values(), ids=NOT_TAKEN.keys())
def test_not_taken(node: LiveNode, spoilt: Callable[[bytes], bytes], status: int) -> None:
    """What no receiver could file or read is refused for good, and the association goes on."""
    data = encode(leaves(9), Uid(EXPLICIT))
    with peer_of(node, Offer(5, CT, (EXPLICIT,))) as peer:
        refused = peer.store(5, CT, uid(3, 9), spoilt(data)).status
        stored = peer.store(5, CT, uid(3, 9), data).status

    assert (status, 0x0000) == (refused, stored)


def test_leading_zeros(node: LiveNode) -> None:
    """Components of UIDs with leading zeros are kept, found and sent as they are."""
    instance, study = f"{ROOT}.003.0010", f"{ROOT}.001.09"
    spoil = {INSTANCE_UID: instance, STUDY_UID: study}
    proper = leaves(1)
    data = encode(
        [Leaf(leaf.tag, "UI", raw(spoil[leaf.tag])) if getattr(leaf, "tag", 0) in spoil else leaf for leaf in proper],  # type: ignore[union-attr]
        Uid(EXPLICIT),
    )
    with peer_of(node, Offer(5, CT, (EXPLICIT,))) as peer:
        status = peer.store(5, CT, instance, data).status
        back = fetched(peer, instance)
        matches = found(peer, "STUDY", _0020000D=study)

    assert (0x0000, [data], 1) == (status, back, len(matches))


@pytest.mark.parametrize(
    ("syntax", "encoded"),
    [
        (GE_IMPLICIT, encode(leaves(11), Uid(IMPLICIT))),
        (GE_EXPRESS, encode([*leaves(12)[:-1], Pixels((b"", b"\7" * 10))], Uid(JPEG_BASELINE))),
    ],
    ids=["GE implicit", "GE express"],
)
def test_private_transfer_syntaxes(node: LiveNode, syntax: str, encoded: bytes) -> None:
    """Taken as they are, given in their own syntax alone, and never chosen where a standard one is offered, too."""
    number = 11 if syntax == GE_IMPLICIT else 12
    with peer_of(node, Offer(5, CT, (syntax,))) as peer:
        status = peer.store(5, CT, uid(3, number), encoded).status
        back = fetched(peer, uid(3, number))
    with RawPeer(node.port) as peer:
        offers = (Offer(3, STUDY_GET), Offer(5, CT, (syntax, EXPLICIT, IMPLICIT)))
        accepted = peer.associate(request=associate_rq(offers, user_items=role(CT, scu=1, scp=1)))
        keys = identifier({LEVEL: "IMAGE", INSTANCE_UID: uid(3, number)})
        instances, responses = peer.get(3, STUDY_GET, keys)

    assert (0x0000, [encoded]) == (status, back)
    assert ((0, EXPLICIT), []) == (accepted.results[5], instances)
    assert (0xA702, (None, 0, 1, 0)) == (responses[-1].status, responses[-1].counters)


TITLES = {
    "ANY": (b"ANY", b"DEVICE"),
    "lower case": (b"pacsnode", b"device"),
    "NULs": (b"PACSNODE".ljust(16, b"\0"), b"DEVICE".ljust(16, b"\0")),
    "leading blanks": (b"   PACSNODE", b"   DEVICE"),
    "blank called": (b"", b"DEVICE"),
    "NULs called": (bytes(16), b"DEVICE"),
}


@pytest.mark.parametrize(("called", "calling"), TITLES.values(), ids=TITLES.keys())
def test_ae_titles(node: LiveNode, called: bytes, calling: bytes) -> None:
    """With ``match_called_ae = false`` any title will do for the called one, none at all, too; what comes is stored."""
    data = encode(leaves(13), Uid(EXPLICIT))
    with peer_of(node, Offer(5, CT, (EXPLICIT,)), called=called, calling=calling) as peer:
        status = peer.store(5, CT, uid(3, 13), data).status

    assert 0x0000 == status


@pytest.mark.parametrize("calling", [b"", bytes(16), b"BACK\\SLASH"], ids=["blank", "NULs", "backslash"])
def test_calling_nobody(node: LiveNode, calling: bytes) -> None:
    """Who does not say who he is cannot be let in: 1, 1, 3."""
    with RawPeer(node.port) as peer, pytest.raises(Rejected) as caught:
        peer.associate(request=associate_rq((Offer(1, VERIFICATION),), calling=calling))

    assert (1, 1, 3) == caught.value.triple


def test_compressed_and_native_in_contexts_of_one_class(node: LiveNode) -> None:
    """Stored in either context; each instance comes back in that of its own syntax."""
    native = encode(leaves(14, study=2), Uid(EXPLICIT))
    compressed = encode([*leaves(15, study=2)[:-1], Pixels((b"", b"\xff\xd8\xff\xd9"))], Uid(JPEG_BASELINE))
    with peer_of(node, Offer(5, CT, (JPEG_BASELINE,)), Offer(7, CT, (EXPLICIT,))) as peer:
        statuses = [peer.store(7, CT, uid(3, 14), native).status, peer.store(5, CT, uid(3, 15), compressed).status]
        instances, _ = peer.get(3, STUDY_GET, identifier({LEVEL: "STUDY", STUDY_UID: uid(1, 2)}))

    assert [0, 0] == statuses
    assert {(7, native), (5, compressed)} == {(got.context_id, got.data_set) for got in instances}


def test_kept_open_between_images(node: LiveNode) -> None:
    """An association lives as long as something comes now and then, however long that is in all."""
    statuses = []
    with peer_of(node, Offer(5, CT, (EXPLICIT,)), Offer(7, VERIFICATION)) as peer:
        for _ in range(4):
            threading.Event().wait(PATIENCE * 0.4)
            statuses.append(peer.echo(7))

    assert [0] * 4 == statuses


def test_silent_for_hours(node: LiveNode) -> None:
    """One that is forgotten ends with an A-ABORT at the idle time, and its peer may come again at once."""
    with RawPeer(node.port) as forgotten:
        forgotten.associate()
        kind, body = forgotten.read_pdu()
    with peer_of(node, Offer(7, VERIFICATION)) as peer:
        echo = peer.echo(7)

    assert (7, 0, 0) == (kind, body[2], echo)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_closed_without_release(node: LiveNode, how: str) -> None:
    """What was answered before is there."""
    data = encode(leaves(16, study=3), Uid(EXPLICIT))
    peer = RawPeer(node.port)
    peer.associate((Offer(5, CT, (EXPLICIT,)),))
    status = peer.store(5, CT, uid(3, 16), data).status
    getattr(peer, how)()
    with peer_of(node, Offer(5, CT, (EXPLICIT,))) as other:
        back = fetched(other, uid(3, 16))

    assert (0x0000, [data]) == (status, back)


def resident_kib(pid: int) -> int:
    """VmRSS of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_port_checks(node: LiveNode) -> None:
    """Connecting and vanishing, a thousand times and more, costs no memory, and no line of the log."""

    def check(count: int) -> None:
        for number in range(count):
            peer = RawPeer(node.port)
            peer.reset() if number % 2 else peer.close()

    check(500)
    lines, before = len(node.lines), resident_kib(node.pid)
    check(1500)
    with peer_of(node, Offer(7, VERIFICATION)) as peer:
        assert 0 == peer.echo(7)

    assert resident_kib(node.pid) - before < 2048
    assert len(node.lines) - lines < 10


def test_a_whole_study_sent_again(node: LiveNode) -> None:
    """A sender that timed out sends all of it again: Success for each, and nothing is there twice."""
    study = {number: encode(leaves(number, study=4), Uid(EXPLICIT)) for number in range(20, 30)}
    impatient = RawPeer(node.port)
    impatient.associate((Offer(5, CT, (EXPLICIT,)),))
    for number in (20, 21, 22):
        impatient.start_store(5, CT, uid(3, number))
        impatient.send_data_set(5, study[number])
    impatient.start_store(5, CT, uid(3, 23))
    impatient.send_data_set(5, study[23][:50], piece=100)
    impatient.reset()
    statuses, objects = [], []
    for _ in range(3):
        with peer_of(node, Offer(5, CT, (EXPLICIT,))) as peer:
            statuses += [peer.store(5, CT, uid(3, number), data).status for number, data in study.items()]
            instances, _ = peer.get(3, STUDY_GET, identifier({LEVEL: "STUDY", STUDY_UID: uid(1, 4)}))
            (match,) = found(peer, "STUDY", _0020000D=uid(1, 4), _00201208="")
        objects.append(objects_of(node))

    assert [0] * 30 == statuses
    assert objects[0] == objects[1] == objects[2]
    assert sorted(study.values()) == sorted(got.data_set or b"" for got in instances)
    assert b"10" == match[0x00201208].strip()


def objects_of(node: LiveNode) -> set[str]:
    """Every object of the store, by its path."""
    return {str(path) for path in (node.folder / "data" / "objects").rglob("*") if path.is_file()}


VERSIONS = {
    "in two series": (leaves(30, study=5, series=5), leaves(30, study=5, series=6)),
    "with a changed header": (leaves(31, study=6), leaves(31, study=6, name=b"Corrected^Name")),
}


@pytest.mark.parametrize(("first", "second"), VERSIONS.values(), ids=VERSIONS.keys())
def test_same_instance_with_other_content(node: LiveNode, first: Sequence[Node], second: Sequence[Node]) -> None:
    """The last one is found and sent; no file is deleted or changed for it, and sent again the first is no news."""
    sent = [encode(version, Uid(EXPLICIT)) for version in (first, second)]
    instance = str(first[1].value.decode().rstrip("\0"))  # type: ignore[union-attr]
    before = objects_of(node)
    with peer_of(node, Offer(5, CT, (EXPLICIT,))) as peer:
        statuses = [peer.store(5, CT, instance, data).status for data in sent]
        back = fetched(peer, instance)
        (match,) = found(peer, "IMAGE", _00080018=instance, _0020000E="")
    added = sorted(objects_of(node) - before)

    assert ([0, 0], [sent[1]]) == (statuses, back)
    assert second[7].value == match[SERIES_UID]  # type: ignore[union-attr]
    assert sorted(sent) == sorted(Path(path).read_bytes()[-len(data) :] for path, data in zip(added, sent, strict=True))


def test_all_of_it_is_whole(node: LiveNode) -> None:
    """After all that, every object is what was stored."""
    assert " 0 findings" in node.run("verify")
