"""A disk that is really full: a small file system of the node's own, mounted where nobody else sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.dimse.destination import Destination
from tests.dimse.images import STUDY, image, uid_of
from tests.dimse.raw_peer import (
    C_FIND,
    C_MOVE,
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_MOVE,
    VERIFICATION,
    Offer,
    RawPeer,
    identifier,
)
from tests.system.live import LiveNode

DISK_MIB = 48
CONTEXTS = (Offer(1, VERIFICATION), Offer(3, CT, (EXPLICIT,)), Offer(5, STUDY_FIND), Offer(7, STUDY_MOVE))
WHOLE_STUDY = identifier({0x00080052: "STUDY", 0x0020000D: STUDY})
SMALL, MEDIUM, LARGE = 2_000, 300_000, 2_500_000  # bytes of pixels; the large one exceeds the staging buffer
OUT_OF_RESOURCES = 0xA700
ANSWER_SECONDS, RESUME_SECONDS = 2.0, 10.0

TMPFS = 'mount -t tmpfs -o size={size}m tmpfs "$0"'
EXT4 = 'mount -o loop "{image}" "$0"'


class SmallDisk:
    """The node's data folder as only the node sees it."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._filler = data / "filler"

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self._data)
        return found.f_bavail * found.f_frsize

    def leave(self, free_bytes: int) -> None:
        """Fill up to so many free bytes, within a block."""
        with self._filler.open("ab", buffering=0) as stream:
            while (surplus := self.free_bytes - free_bytes) >= 4096:
                try:
                    stream.write(bytes(min(surplus, 1 << 20)))
                except OSError:
                    return
                os.fsync(stream.fileno())  # ext4 allocates, and counts, when it writes back

    def relieve(self) -> None:
        """Space returns."""
        self._filler.unlink()

    def objects(self) -> int:
        return sum(path.is_file() for path in (self._data / "objects").rglob("*"))

    def leftovers(self) -> list[str]:
        return [path.name for path in (self._data / "spool").rglob("*.part")]


class Peer:
    """Sends made-up images, each under its own UID, and keeps what it was answered."""

    def __init__(self, port: int) -> None:
        self.statuses: list[int | None] = []
        self.slowest = 0.0  # seconds
        self._peer = RawPeer(port)
        self._peer.associate(CONTEXTS)

    @property
    def stored(self) -> int:
        return self.statuses.count(0)

    def store(self, pixels: int) -> int | None:
        number = len(self.statuses)
        began = time.monotonic()
        status = self._peer.store(3, CT, uid_of(number), image(number, pixels=bytes(pixels))).status
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.statuses.append(status)
        return status

    def others_work(self) -> tuple[int | None, int | None, int | None]:
        """Status of a C-ECHO, how many studies a C-FIND tells, and how many instances a C-MOVE brings."""
        echo = self._peer.echo()
        self._peer.start_query(5, C_FIND, STUDY_FIND, WHOLE_STUDY)
        matches = len(self._peer.responses()) - 1
        self._peer.start_query(7, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="RECEIVER")
        return echo, matches, self._peer.responses()[-1].counters[1]

    def close(self) -> None:
        self._peer.close()


def launched(mount: str, tmp_path: Path, folder: Path) -> list[str]:
    """A command that becomes the one appended to it; it alone sees the small disk that is mounted on the folder."""
    disk_image = tmp_path / "disk.img"
    if "loop" in mount:
        with disk_image.open("wb") as stream:
            stream.truncate(DISK_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk_image], check=True)
    mounting = mount.format(size=DISK_MIB, image=disk_image)
    launcher = ["unshare", "--mount", "sh", "-c", f'{mounting} && exec "$@"', str(folder)]
    if subprocess.run([*launcher, "true"], capture_output=True).returncode:
        pytest.skip("this user or machine cannot mount a small file system for one process")
    return launcher


@contextmanager
def node_on(tmp_path: Path, mount: str, min_free: str) -> Iterator[tuple[SmallDisk, Peer]]:
    """A node on a small disk, and a peer that is associated with it."""
    data = tmp_path / "node" / "data"
    with Destination() as receiver:
        tables = f'[peers.RECEIVER]\nhost = "127.0.0.1"\nport = {receiver.port}\n'
        data.mkdir(parents=True)
        launcher = launched(mount, tmp_path, data)
        with LiveNode(tmp_path / "node", tables, min_free=min_free, launcher=launcher) as node:
            with closing(Peer(node.port)) as peer:
                yield SmallDisk(Path(f"/proc/{node.pid}/root") / data.relative_to("/")), peer


@pytest.fixture(params=[TMPFS, EXT4], ids=["tmpfs", "ext4"])
def mount(request: pytest.FixtureRequest) -> str:
    if shutil.which("unshare") is None or shutil.which("mkfs.ext4") is None:
        pytest.skip("unshare or mkfs.ext4 is not installed")
    chosen: str = request.param
    return chosen


def below_the_mark(disk: SmallDisk, peer: Peer) -> None:
    disk.leave(600 << 10)


def without_room_for_an_instance(disk: SmallDisk, peer: Peer) -> None:
    disk.leave(100 << 10)


def without_any_room(disk: SmallDisk, peer: Peer) -> None:
    disk.leave(0)


@pytest.mark.parametrize("fill", [below_the_mark, without_room_for_an_instance, without_any_room])
def test_full_disk(tmp_path: Path, mount: str, fill: Callable[[SmallDisk, Peer], None]) -> None:
    """Each C-STORE is A700 within 2 s and leaves nothing; all else works; it stores again when space is back."""
    min_free = "1 MiB" if fill is below_the_mark else "1 KiB"
    with node_on(tmp_path, mount, min_free) as (disk, peer):
        assert [0] * 6 == [peer.store(size) for size in (SMALL, MEDIUM, LARGE) * 2]
        fill(disk, peer)
        while peer.store(MEDIUM) == 0:
            pass  # an answer about free space is good for a moment: one or two may still find room
        refused = [peer.store(size) for size in (MEDIUM, LARGE) * 10]
        works = peer.others_work()
        left = disk.objects(), disk.leftovers()
        slowest = peer.slowest
        disk.relieve()
        began = time.monotonic()
        while peer.store(MEDIUM) and time.monotonic() < began + RESUME_SECONDS:
            pass

        assert [OUT_OF_RESOURCES] * 20 == refused
        assert (0, 1, peer.stored - 1) == works
        assert (peer.stored - 1, []) == left
        assert slowest < ANSWER_SECONDS
        assert 0 == peer.statuses[-1]
        assert (0, 1, peer.stored) == peer.others_work()


def test_disk_that_fills_up(tmp_path: Path, mount: str) -> None:
    """Up to the last byte, whether object or row finds no room: what is Success stays, all else is A7xx."""
    with node_on(tmp_path, mount, "1 KiB") as (disk, peer):
        peer.store(SMALL)
        disk.leave(2 << 20)
        while peer.statuses[-10:] != [OUT_OF_RESOURCES] * 10 and len(peer.statuses) < 3000:
            peer.store(SMALL)
        full = peer.others_work()
        disk.relieve()
        began = time.monotonic()
        while peer.store(SMALL) and time.monotonic() < began + RESUME_SECONDS:
            pass

        assert (0, 1, peer.stored - 1) == full
        assert (0, 1, peer.stored) == peer.others_work()
        assert {0, OUT_OF_RESOURCES} == set(peer.statuses)
        assert peer.stored <= disk.objects()
        assert [] == disk.leftovers()
        assert peer.slowest < ANSWER_SECONDS


@pytest.mark.parametrize(("ballast_mib", "removed"), [(8, "3 3\n"), (0, "0 0\n")])
def test_removal_on_a_full_disk(tmp_path: Path, mount: str, ballast_mib: int, removed: str) -> None:
    """Not a byte is free: with the ballast what is stored can be removed, at once and after a start; without, not."""
    data = tmp_path / "data"
    data.mkdir()
    launcher = launched(mount, tmp_path, data)
    program = [sys.executable, "-m", "tests.durability.removal", str(data), str(ballast_mib)]
    done = subprocess.run([*launcher, *program], capture_output=True, text=True, timeout=100)

    assert removed == done.stdout, done.stderr


def test_full_disk_of_the_index(tmp_path: Path) -> None:
    """The index has a full disk of its own: A700 at once, all else works; it stores again when space is back."""
    folder = tmp_path / "node"
    index = folder / "data" / "index"
    index.mkdir(parents=True)
    launcher = launched(TMPFS, tmp_path, index)
    with Destination() as receiver:
        (folder / "pacsnode.toml").write_text(
            '[node]\nlisten = "127.0.0.1:0"\ndata = "data"\nindex = "index"\n'
            '[storage]\nmin_free = "1 MiB"\nindex_min_free = "2 MiB"\nballast = "0 B"\n'
            f'[peers.RECEIVER]\nhost = "127.0.0.1"\nport = {receiver.port}\n'
        )
        with LiveNode(folder, launcher=launcher) as node, closing(Peer(node.port)) as peer:
            disk = SmallDisk(Path(f"/proc/{node.pid}/root") / index.relative_to("/"))
            assert [0] * 3 == [peer.store(SMALL) for _ in range(3)]
            disk.leave(1 << 20)
            while peer.store(SMALL) == 0:
                pass  # an answer about free space is good for a moment
            refused = [peer.store(SMALL) for _ in range(10)]
            works = peer.others_work()
            disk.relieve()
            began = time.monotonic()
            while peer.store(SMALL) and time.monotonic() < began + RESUME_SECONDS:
                pass

            assert [OUT_OF_RESOURCES] * 10 == refused
            assert (0, 1, peer.stored - 1) == works
            assert 0 == peer.statuses[-1]
            assert peer.slowest < ANSWER_SECONDS


def test_a_node_keeps_a_ballast(tmp_path: Path) -> None:
    """A node that runs has taken the room that is meant for a full disk."""
    with LiveNode(tmp_path / "node", storage='ballast = "1 MiB"') as node:
        assert 1 << 20 == (node.folder / "data" / "ballast").stat().st_size
