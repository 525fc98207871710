"""Whatever a peer or a file calls itself, nothing outside of the store is touched, and no line of the log is forged.

``PACSNODE_NAMES`` says how many hostile names there are (2000).
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pacsnode.model import Uid
from pacsnode.storage import layout
from tests.cli import folder as cli
from tests.cli.folder import Folder
from tests.dicom.dataset_bytes import Branch, Leaf, encode
from tests.dimse import images
from tests.dimse.raw_peer import (
    C_FIND,
    C_MOVE,
    C_STORE,
    COMMAND,
    CT,
    EXPLICIT,
    MESSAGE_ID,
    ORIGINATOR_AE,
    ORIGINATOR_ID,
    PRIORITY,
    SOP_CLASS,
    SOP_INSTANCE,
    STORAGE_COMMITMENT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Closed,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    command_set,
    identifier,
    pdu,
    role,
    value,
)
from tests.system.hostile_names import MARK, names
from tests.system.live import LiveNode

COUNT = int(os.environ.get("PACSNODE_NAMES", "2000"))
OFFERS = (
    Offer(1, VERIFICATION),
    Offer(3, CT, (EXPLICIT,)),
    Offer(5, STUDY_FIND),
    Offer(7, STUDY_GET),
    Offer(9, STUDY_MOVE),
    Offer(11, STORAGE_COMMITMENT, (EXPLICIT,)),
)
LEVEL, STUDY_UID, SERIES_UID, INSTANCE_UID, NAME, PATIENT_ID = (
    0x00080052, 0x0020000D, 0x0020000E, 0x00080018, 0x00100010, 0x00100020,
)  # fmt: skip
NAMES_PER_ASSOCIATION = 25
OURS = re.compile(
    r"(?:objects(?:/.*)?|audit(?:/(?:audit\.log(?:\.[a-z0-9]+)?|signing\.(?:key|pub)|lock))?|spool(?:/[0-9a-f/]+)?|quarantine|lock|mark|node\.sock|ballast|(?:index|commitments|jobs)\.db"
    r"(?:-wal|-shm)?|[a-z]+\.db(?:-wal|-shm)?)\Z"
)
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:INFO|WARNING|ERROR) event=[a-z_]+(?: [a-z_]+=.*)?\n\Z")


def outside(root: Path, store: Path) -> dict[str, str]:
    """Everything below the root but what is in the store, with its content."""
    found = {}
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(parent, name) != store]
        for name in files:
            path = Path(parent, name)
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def not_ours(store: Path) -> list[str]:
    """What is in the store under a name that we do not give."""
    relatives = [str(path.relative_to(store)) for path in store.rglob("*")]
    strange = [relative for relative in relatives if not OURS.match(relative)]
    objects = [str(path.relative_to(store / "objects")) for path in (store / "objects").rglob("*") if path.is_file()]
    return strange + [relative for relative in objects if layout.parse(relative) is None]


def reached(hostile: Iterable[str], bases: Iterable[Path]) -> list[str]:
    """The names that lead, from one of the folders, to a file that bears our mark, and what a shell would have made."""
    found = [path.name for path in Path.cwd().iterdir() if MARK in path.name]
    for base in bases:
        for name in hostile:
            path = os.path.normpath(os.path.join(base, name.replace("\0", "")))  # noqa: PTH118 - as a naive one would
            if MARK in path and os.path.lexists(path):
                found.append(name)
    return found


def wire(name: str, most: int = 64) -> bytes:
    """The name as bytes of a value, of even length."""
    raw = name.encode("utf-8", "replace")[:most]
    return raw + b" " * (len(raw) % 2)


def converse(peer: RawPeer, hostile: str, number: int) -> list[int | None]:
    """Put the name into each field of each request: the statuses."""
    raw = wire(hostile)
    text = raw.decode("latin-1")
    own = images.image(
        number,
        name=raw,
        patient_id=raw,
        charset=b"ISO_IR 192",
        more=(Leaf(0x00081030, "LO", raw), Leaf(0x00080080, "LO", raw), Leaf(0x00081010, "SH", raw[:16])),
    )
    statuses = [stored(peer, images.uid_of(number), own, originator=raw[:16])]
    statuses.append(stored(peer, raw, _with(0x00080018, raw, number)))
    statuses.append(stored(peer, images.uid_of(number), _with(0x0020000D, raw, number)))
    statuses.append(stored(peer, images.uid_of(number), _with(0x0020000E, raw, number)))
    asked: tuple[dict[int, str | bytes], ...] = (
        {LEVEL: "STUDY", NAME: raw, PATIENT_ID: raw, 0x00080005: b"ISO_IR 192"},
        {LEVEL: "STUDY", STUDY_UID: raw},
        {LEVEL: raw, STUDY_UID: raw},
    )
    for keys in asked:
        peer.start_query(5, C_FIND, STUDY_FIND, identifier(keys))
        statuses.append(peer.responses()[-1].status)
    statuses.append(peer.get(7, STUDY_GET, identifier({LEVEL: "STUDY", STUDY_UID: raw}))[1][-1].status)
    whole = identifier({LEVEL: "STUDY", STUDY_UID: images.STUDY})
    peer.start_query(9, C_MOVE, STUDY_MOVE, whole, destination=text.encode("latin-1").decode("ascii", "ignore")[:16])
    statuses.append(peer.responses()[-1].status)
    return statuses


def _with(tag: int, raw: bytes, number: int) -> bytes:
    """An image, one of whose UIDs is the name."""
    return images.image(number, without=(tag,), more=(Leaf(tag, "UI", raw),))


def stored(peer: RawPeer, uid: str | bytes, data: bytes, *, originator: bytes = b"") -> int | None:
    """C-STORE: the status. The command is written here, for the peer's takes text alone."""
    fields: dict[int, int | str | bytes] = {
        SOP_CLASS: CT, COMMAND: C_STORE, MESSAGE_ID: peer.next_id(), PRIORITY: 0, SOP_INSTANCE: uid, 0x0800: 1,
    }  # fmt: skip
    if originator:
        fields |= {ORIGINATOR_AE: originator, ORIGINATOR_ID: 1}
    peer.send(pdu(4, value(3, 3, command_set(fields))))
    peer.send_data_set(3, data)
    return peer.read_message().status


def call(port: int, title: bytes, *, as_called: bool, number: int) -> None:
    """Associate under the title, or call the node by it, and store where that is accepted."""
    source = f"127.0.{number // 200 + 1}.{number % 200 + 1}"  # what an address may have logged is limited
    request = associate_rq(OFFERS, called=title) if as_called else associate_rq(OFFERS, calling=title)
    with RawPeer(port, source=source) as peer:
        try:
            peer.associate(request=request)
            stored(peer, images.uid_of(number), images.image(number))
            peer.release()
        except (Rejected, Closed):
            pass


@pytest.mark.timeout(300)
def test_peers_cannot_name_files(tmp_path: Path) -> None:
    """Hostile names in UIDs, AE titles, patients, keys and destinations: files are ours, log lines are ours."""
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "precious").write_text("stays")
    hostile = list(names(COUNT, decoy, tmp_path / "node" / "data"))
    with LiveNode(tmp_path / "node") as node:
        store = tmp_path / "node" / "data"
        before = outside(tmp_path, store)
        statuses = []
        for first in range(0, COUNT, NAMES_PER_ASSOCIATION):
            source = f"127.1.{first // NAMES_PER_ASSOCIATION // 200 + 1}.{first // NAMES_PER_ASSOCIATION % 200 + 1}"
            with RawPeer(node.port, source=source) as peer:
                peer.associate(request=associate_rq(OFFERS, user_items=role(CT, scu=1, scp=1)))
                for number, name in enumerate(hostile[first : first + NAMES_PER_ASSOCIATION], first + 1):
                    statuses.append(converse(peer, name, number))
                peer.release()
        for number, name in enumerate(hostile):
            call(node.port, wire(name, 16), as_called=bool(number % 2), number=number)
            call(node.port, wire(name, 16), as_called=not number % 2, number=number)
        with RawPeer(node.port, source="127.9.9.9") as peer:
            peer.associate()
            status = peer.echo()
            peer.release()
        after = outside(tmp_path, store)
        strange = not_ours(store)
        found = reached(hostile, (tmp_path, store, store / "objects", store / "spool", Path.cwd(), Path("/")))
        listed = node.run("study", "list")
    log = node.lines

    assert COUNT == len(set(hostile)) == len(statuses)
    assert 0 == status
    assert {0} == {one[0] for one in statuses}
    assert all(one[1] in (0x0117, 0xC001, 0xA900) for one in statuses), {one[1] for one in statuses}
    assert before == after
    assert [] == strange
    assert [] == found
    assert [] == [line for line in log if not LINE.match(line) or not line[:-1].isprintable()]
    assert all(line.isprintable() for line in listed.split("\n"))


def zipped(hostile: Iterable[str], path: Path) -> None:
    """A zip whose members have these names."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(hostile, 1):
            member = zipfile.ZipInfo("x")
            member.filename = name  # past what the constructor makes of it
            content = cli.image(f"2.25.9.{number}") if number % 2 else b"no DICOM"
            archive.writestr(member, content)


def files_of(hostile: Iterable[str], path: Path) -> None:
    """Files whose file meta or data set has these names for UIDs."""
    path.mkdir()
    for number, name in enumerate(hostile, 1):
        raw = wire(name).decode("latin-1")
        content = cli.data_set(raw if number % 2 else f"2.25.8.{number}")
        (path / f"{number}.dcm").write_bytes(cli.part10(content, instance_uid=raw))


def directory(hostile: Iterable[str], path: Path) -> None:
    """A DICOMDIR whose records name these files."""
    records = tuple((Leaf(0x00041430, "CS", b"IMAGE "), Leaf(0x00041500, "CS", wire(name))) for name in hostile)
    content = encode([Leaf(0x00041130, "CS", b""), Branch(0x00041220, records)], Uid(EXPLICIT))
    path.write_bytes(cli.part10(content, instance_uid="2.25.7", sop_class=cli.DICOMDIR))


@pytest.mark.parametrize("make", [zipped, files_of, directory], ids=["zip members", "UIDs", "DICOMDIR"])
def test_imports_cannot_name_files(tmp_path: Path, make: Callable[[Iterable[str], Path], None]) -> None:
    """Hostile names of zip members, in file meta and data sets, and of files that a DICOMDIR refers to: only what lies
    in the folder that was named is read, only the store is written, and the report has no control characters."""
    place = tmp_path / "node"
    place.mkdir()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "image.dcm").write_bytes(cli.image("2.25.666"))
    media = tmp_path / "media"
    media.mkdir()
    node = Folder(place)
    hostile = [
        *names(COUNT, secret, place / "data"),
        "../secret/image.dcm",
        "..\\secret\\image.dcm",
        f"{secret}/image.dcm",
    ]
    make(hostile, media / ("set.zip" if make is zipped else "DICOMDIR" if make is directory else "files"))
    before = outside(tmp_path, place / "data")

    result = node.run("import", media)

    assert outside(tmp_path, place / "data") == before
    assert [] == not_ours(place / "data")
    assert [] == reached(hostile, (tmp_path, place, place / "data", Path.cwd(), media))
    assert all(line.isprintable() for line in result.stdout.split("\n"))
    assert "2.25.666" not in node.run("study", "show", cli.STUDY).stdout
