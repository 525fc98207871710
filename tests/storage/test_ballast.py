"""Room kept for a full disk: there while there is plenty, gone when it is needed, there again afterwards."""

from __future__ import annotations

from pathlib import Path

from pacsnode.storage.ballast import Ballast
from pacsnode.storage.calls import FileSystem, Space

SIZE, SPARE = 1 << 20, 3 << 20


class Disk(FileSystem):
    """Has as much room as a test says."""

    free_bytes = SIZE + SPARE

    def space(self, path: Path) -> Space:
        return Space(self.free_bytes, None)


def blocks(path: Path) -> int:
    """Bytes that the file takes of the disk."""
    return path.stat().st_blocks * 512


def test_takes_its_room(tmp_path: Path) -> None:
    """The blocks are really taken, once."""
    path = tmp_path / "ballast"
    Ballast(path, SIZE, fs=Disk()).restore(SPARE)
    Ballast(path, SIZE, fs=Disk()).restore(SPARE)

    assert SIZE <= blocks(path) < 2 * SIZE


def test_is_not_made_where_room_is_short(tmp_path: Path) -> None:
    """It never takes what must stay free."""
    disk = Disk()
    disk.free_bytes = SIZE + SPARE - 1
    Ballast(tmp_path / "ballast", SIZE, fs=disk).restore(SPARE)

    assert [] == list(tmp_path.iterdir())


def test_is_given_up_once(tmp_path: Path) -> None:
    """Who asks for room hears whether there was any."""
    ballast = Ballast(tmp_path / "ballast", SIZE, fs=Disk())
    ballast.restore(SPARE)

    assert [True, False] == [ballast.give_up(), ballast.give_up()]
    assert [] == list(tmp_path.iterdir())


def test_a_start_on_a_full_disk_relieves(tmp_path: Path) -> None:
    """Where less is free than it takes it goes; else it stays."""
    disk = Disk()
    ballast = Ballast(tmp_path / "ballast", SIZE, fs=disk)
    ballast.restore(SPARE)
    ballast.relieve()
    assert [tmp_path / "ballast"] == list(tmp_path.iterdir())
    disk.free_bytes = SIZE - 1
    ballast.relieve()

    assert [] == list(tmp_path.iterdir())


def test_follows_the_configuration(tmp_path: Path) -> None:
    """Another size is taken over, and none takes it away."""
    path = tmp_path / "ballast"
    Ballast(path, SIZE, fs=Disk()).restore(SPARE)
    Ballast(path, SIZE // 2, fs=Disk()).restore(SPARE)
    assert SIZE // 2 == path.stat().st_size
    Ballast(path, 0, fs=Disk()).restore(SPARE)

    assert not path.exists()
