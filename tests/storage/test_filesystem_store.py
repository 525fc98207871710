"""What only the store in a file system promises: its folders, its thrift, and what it does about a full disk."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pacsnode.dicom.part10 import HeadTemplate
from pacsnode.errors import MalformedUid, ObjectDamaged, ObjectNotFound, ObjectUnreadable, StoreError, StoreFull
from pacsnode.model import Key, Uid
from pacsnode.storage import layout
from pacsnode.storage.calls import DIRECT_BYTES, FileSystem, Space
from pacsnode.storage.filesystem import FilesystemStore
from tests.storage.recorded_calls import Call, RecordedFileSystem, fails_at
from tests.storage.test_store_contract import ARRIVAL, CONTENT, MISSING, new_key, put, read

MIB = 1024 * 1024


def path_of(root: Path, key: Key) -> Path:
    return layout.path(root / "objects", key)


def test_folders_are_created(tmp_path: Path) -> None:
    """A store can begin in a folder that is not there yet, for owner and group only."""
    root = tmp_path / "a" / "b"
    store = FilesystemStore(root)
    stored = put(store, CONTENT)

    assert {root / "objects", root / "spool"} == set(root.iterdir())
    folders = [root, root / "objects", root / "spool", *path_of(root, stored.key).parents[:4]]
    assert {0} == {folder.stat().st_mode & 0o027 for folder in folders}
    assert path_of(root, stored.key).stat().st_mode & 0o137 == 0


def test_created_folders_are_durable(tmp_path: Path) -> None:
    """The store's own folders survive a power cut like everything below them."""
    fs = RecordedFileSystem()
    FilesystemStore(tmp_path / "a" / "b", fs=fs)

    for at, call in enumerate(fs.calls):
        if call.name == "make_directory":
            assert Call("sync_directory", call.path.parent) in fs.calls[at:]


def test_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store stays where it was opened, whatever becomes of the working directory."""
    monkeypatch.chdir(tmp_path)
    store = FilesystemStore(Path("here"))
    monkeypatch.chdir("/")
    stored = put(store, CONTENT)

    assert path_of(tmp_path / "here", stored.key).exists()


def test_opening_again(tmp_path: Path) -> None:
    """What one process stored another finds; opening leaves no trace of its own."""
    stored = put(FilesystemStore(tmp_path), CONTENT)
    store = FilesystemStore(tmp_path)

    assert [stored.key] == list(store.keys())
    assert CONTENT == read(store, stored)
    assert list((tmp_path / "spool").rglob("*.part")) == []
    assert store.degraded == ""


@pytest.mark.parametrize("failing", ["make_directory", "create", "link", "unlink", "sync_directory"])
def test_root_that_cannot_be_used(tmp_path: Path, failing: str) -> None:
    """What every upload needs is tried at the start: the error comes then, and names the folder."""
    fs = RecordedFileSystem(lambda number, call: errno.EROFS if call.name == failing else 0)

    with pytest.raises(StoreError, match=f"cannot store anything below {tmp_path}/new: Read-only"):
        FilesystemStore(tmp_path / "new", fs=fs)


def test_root_that_is_a_file(tmp_path: Path) -> None:
    """A file where the folder should be is a StoreError."""
    (tmp_path / "root").touch()
    with pytest.raises(StoreError, match="cannot store anything"):
        FilesystemStore(tmp_path / "root")


def test_sweep_after_a_kill_while_opening(tmp_path: Path) -> None:
    """The file that a store tries itself with is no object, and is gone after the next start."""
    store = FilesystemStore(tmp_path)
    left = tmp_path / "objects" / f"{'5' * 32}.part"
    left.touch()
    found = list(store.keys())
    store.sweep()

    assert [] == found
    assert not left.exists()


@pytest.mark.parametrize("size", [DIRECT_BYTES - 1, DIRECT_BYTES, 2 * DIRECT_BYTES + 1, MIB, 3 * MIB + 1])
def test_large_objects(tmp_path: Path, size: int) -> None:
    """Hashed by a second thread while written, an object has its bytes, its digest and its head."""
    store = FilesystemStore(tmp_path)
    content = random.Random(size).randbytes(size)
    upload = store.begin(ARRIVAL)
    for start in range(0, size, 100_000):
        upload.write(content[start : start + 100_000])
    stored = upload.commit(new_key(0))

    assert (size, hashlib.sha256(content).hexdigest()) == (stored.size, stored.digest)
    assert content == read(store, stored)
    assert stored == store.info(stored.key)
    whole = path_of(tmp_path, stored.key).read_bytes()
    assert HeadTemplate(ARRIVAL).filled(stored.digest) + content == whole


def test_sweep(tmp_path: Path) -> None:
    """Leftovers of a process that died are removed, and only those."""
    store = FilesystemStore(tmp_path, staging_bytes=4096)
    stored = put(store, CONTENT)
    upload = store.begin(ARRIVAL)
    upload.write(CONTENT)
    (tmp_path / "spool" / "notes.txt").touch()
    restarted = FilesystemStore(tmp_path)
    swept = [restarted.sweep(), restarted.sweep()]

    assert [1, 0] == swept
    assert [tmp_path / "spool" / "notes.txt"] == [p for p in (tmp_path / "spool").rglob("*") if p.is_file()]
    assert [stored.key] == list(store.keys())
    upload.abort()


def test_foreign_files_are_no_objects(tmp_path: Path) -> None:
    """Whatever else lies in the tree is passed over: files, folders and links of other names, links of ours."""
    store = FilesystemStore(tmp_path)
    stored = put(store, CONTENT)
    objects, shard = tmp_path / "objects", path_of(tmp_path, stored.key).parent
    for file in (objects / "README", objects / "2024" / "notes", shard / f"{shard.name}.part", shard / "copy"):
        file.write_bytes(b"foreign")
    path_of(tmp_path, MISSING).symlink_to(path_of(tmp_path, stored.key))
    (shard / ("1" * 32)).mkdir()
    (objects / "lost+found" / "02" / "29" / "80").mkdir(parents=True)
    (objects / "lost+found" / "02" / "29" / "80" / ("2" * 32)).touch()
    (objects / "2025").symlink_to(objects / "2024")

    assert [stored.key] == list(store.keys())


def test_folder_that_vanishes_while_listing(tmp_path: Path) -> None:
    """Listing goes on where somebody removes an empty shard meanwhile."""
    store = FilesystemStore(tmp_path)
    stored = [put(store, CONTENT, new_key(seconds)) for seconds in (0, 400, 800)]
    keys = store.keys()
    first = next(keys)
    store.delete(stored[1].key)
    path_of(tmp_path, stored[1].key).parent.rmdir()

    assert [stored[0].key, stored[2].key] == [first, *keys]


def test_listing_looks_only_where_it_must(tmp_path: Path) -> None:
    """Listing from some key on does not read the folders of earlier days."""
    fs = RecordedFileSystem()
    store = FilesystemStore(tmp_path, fs=fs)
    keys = [put(store, CONTENT, new_key(days * 86_400)).key for days in range(4)]
    fs.calls.clear()
    found = list(store.keys(keys[2][:10]))

    assert keys[2:] == found
    assert [path_of(tmp_path, key).parent for key in keys[2:]] == [
        call.path for call in fs.calls if call.name == "files"
    ]


def test_set_aside_tells_the_reason(tmp_path: Path) -> None:
    """What is set aside is whole in the quarantine, beside the key it had and the reason."""
    store = FilesystemStore(tmp_path)
    stored = put(store, CONTENT)
    content = path_of(tmp_path, stored.key).read_bytes()
    store.set_aside(stored.key, "it is damaged")
    name = stored.key.rpartition("/")[2]

    assert content == (tmp_path / "quarantine" / f"{name}.dcm").read_bytes()
    told = json.loads((tmp_path / "quarantine" / f"{name}.json").read_text())
    assert {"key": stored.key, "reason": "it is damaged"} == told


def test_set_aside_is_durable(tmp_path: Path) -> None:
    """Both folders are synced after the move; what could not be moved is still an object."""
    fs = RecordedFileSystem()
    store = FilesystemStore(tmp_path, fs=fs)
    stored = put(store, CONTENT)
    fs.calls.clear()
    store.set_aside(stored.key, "it is damaged")
    moved = [(call.name, call.path) for call in fs.calls][-2:]

    shard, quarantine = path_of(tmp_path, stored.key).parent, tmp_path / "quarantine"
    assert {("sync_directory", shard), ("sync_directory", quarantine)} == set(moved)


def test_set_aside_that_fails(tmp_path: Path) -> None:
    """What could not be moved is still an object."""
    store = FilesystemStore(tmp_path, fs=RecordedFileSystem(fails_at("rename")))
    stored = put(store, CONTENT)

    with pytest.raises(StoreError):
        store.set_aside(stored.key, "it is damaged")
    assert [stored.key] == list(store.keys())


def test_symbolic_link_is_not_opened(tmp_path: Path) -> None:
    """Whoever plants a link in the tree gets nothing read through it."""
    store = FilesystemStore(tmp_path)
    put(store, CONTENT)
    path_of(tmp_path, MISSING).symlink_to("/etc/hostname")

    with pytest.raises(StoreError, match="cannot open"):
        store.open(MISSING)
    with pytest.raises(StoreError, match="cannot open"):
        store.read_into(MISSING, memoryview(bytearray(10)))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_directory_in_place_of_an_object(tmp_path: Path) -> None:
    """What is no file is a StoreError, and no descriptor is lost."""
    store = FilesystemStore(tmp_path)
    path_of(tmp_path, MISSING).mkdir(parents=True)
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(StoreError, match="cannot open"):
            store.open(MISSING)
        with pytest.raises(ObjectUnreadable):
            store.read_into(MISSING, memoryview(bytearray(10)))

    assert before == open_descriptors()


def test_object_below_a_file(tmp_path: Path) -> None:
    """A file where a folder of the key should be: there is no such object."""
    store = FilesystemStore(tmp_path)
    (tmp_path / "objects" / MISSING[:4]).touch()
    with pytest.raises(ObjectNotFound):
        store.open(MISSING)
    store.delete(MISSING)

    with pytest.raises(StoreError):
        put(store, CONTENT, MISSING)


def test_shard_that_was_removed_behind_our_back(tmp_path: Path) -> None:
    """An upload into a folder that vanished fails cleanly, and the next one makes the folder again."""
    store = FilesystemStore(tmp_path)
    stored = put(store, CONTENT)
    store.delete(stored.key)
    path_of(tmp_path, stored.key).parent.rmdir()
    with pytest.raises(StoreError):
        put(store, CONTENT)
    again = put(store, CONTENT)

    assert CONTENT == read(store, again)
    assert store.degraded == ""


def test_disk_that_gives_nothing_back() -> None:
    """An object whose reading fails is damaged, whichever way it is read."""
    with FileSystem().open(Path("/proc/self/mem")) as source:  # its first page is never mapped: EIO
        assert isinstance(source, io.FileIO)
        buffered = io.BufferedReader(source)
        reads: list[Callable[[], object]] = [
            lambda: source.read(10),
            source.read,
            source.readall,
            lambda: buffered.read(1),
        ]
        for read_it in reads:
            with pytest.raises(ObjectDamaged, match="cannot be read: Input/output error"):
                read_it()


def test_malformed_uid(tmp_path: Path) -> None:
    """An arrival that gives no head is refused before anything is written."""
    store = FilesystemStore(tmp_path)
    with pytest.raises(MalformedUid):
        store.begin(replace(ARRIVAL, sop_instance_uid=Uid("../../etc")))

    assert list((tmp_path / "spool").rglob("*.part")) == []


@dataclass
class SmallDisk(FileSystem):
    """A disk whose free space the test sets; counts how often it is asked."""

    free: Space
    asked: int = 0

    def space(self, path: Path) -> Space:
        self.asked += 1
        return self.free


@pytest.mark.parametrize("free", [Space(999, 1_000), Space(10_000, 0)], ids=["bytes", "inodes"])
def test_no_room(tmp_path: Path, free: Space) -> None:
    """Below the mark, or without inodes, nothing is begun; what is there can be read and deleted."""
    disk, now = SmallDisk(Space(1_000, 1)), [0.0]
    store = FilesystemStore(tmp_path, min_free_bytes=1_000, fs=disk, monotonic=lambda: now[0])
    stored = put(store, CONTENT)
    now[0] += 1
    disk.free = free
    with pytest.raises(StoreFull):
        store.begin(ARRIVAL)

    assert CONTENT == read(store, stored)
    assert free.free_bytes == store.free_bytes()
    store.delete(stored.key)


def test_room_again(tmp_path: Path) -> None:
    """As soon as there is space again, uploads go on."""
    disk = SmallDisk(Space(0, 1_000))
    store = FilesystemStore(tmp_path, fs=disk)
    with pytest.raises(StoreFull):
        store.begin(ARRIVAL)
    disk.free = Space(1, 1_000)

    store.begin(ARRIVAL).abort()


def test_file_system_that_counts_no_inodes(tmp_path: Path) -> None:
    """Some file systems make inodes as they need them: that is not a lack."""
    upload = FilesystemStore(tmp_path, fs=SmallDisk(Space(1, None))).begin(ARRIVAL)
    nothing_yet = upload.digest()
    upload.abort()

    assert hashlib.sha256().hexdigest() == nothing_yet


def test_space_is_asked_a_few_times_a_second(tmp_path: Path) -> None:
    """The answer is good for 0.2 s, whatever the number of uploads."""
    disk, now = SmallDisk(Space(MIB, 1_000)), [0.0]
    store = FilesystemStore(tmp_path, fs=disk, monotonic=lambda: now[0])
    for hundredths in range(100):
        now[0] = hundredths / 100
        store.begin(ARRIVAL).abort()

    assert 5 == disk.asked


def test_large_object_stops_at_the_mark(tmp_path: Path) -> None:
    """Space that runs low in the middle of a large object ends its upload, and frees what it took."""
    disk, now = SmallDisk(Space(MIB, 1_000)), [0.0]
    store = FilesystemStore(tmp_path, min_free_bytes=1_000, fs=disk, staging_bytes=4096, monotonic=lambda: now[0])
    upload = store.begin(ARRIVAL)
    upload.write(CONTENT)
    now[0], disk.free = 1.0, Space(500, 1_000)
    with pytest.raises(StoreFull):
        upload.write(CONTENT)

    assert list((tmp_path / "spool").rglob("*.part")) == []
    with pytest.raises(StoreError, match="over"):
        upload.write(CONTENT)


def test_nothing_of_the_buffers_last_user(tmp_path: Path) -> None:
    """Buffers are used again: no byte of one object comes into another, not even meanwhile in the spool."""
    fs = RecordedFileSystem()
    store = FilesystemStore(tmp_path, fs=fs, staging_bytes=4096)
    put(store, b"\xaa" * 10_000)
    upload = store.begin(ARRIVAL)
    upload.write(b"\x55" * 5_000)
    in_spool = [file.read_bytes() for file in (tmp_path / "spool").rglob("*.part")]
    stored = upload.commit(new_key())

    assert [4096] == [len(content) for content in in_spool]
    assert b"\xaa" not in in_spool[0]
    assert b"\xaa\xaa" not in path_of(tmp_path, stored.key).read_bytes()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat(tmp_path: Path) -> None:
    """An object of 64 MiB takes no more memory than the staging buffer."""
    store = FilesystemStore(tmp_path)
    chunk, upload = memoryview(bytes(range(256)) * 1024), store.begin(ARRIVAL)
    before, peak = resident_bytes(), 0
    for _ in range(256):
        upload.write(chunk)
        peak = max(peak, resident_bytes())
    stored = upload.commit(new_key())

    assert stored == store.info(stored.key)
    assert 64 * MIB == stored.size
    assert peak - before < 8 * MIB


def test_first_uploads_of_a_shard_at_the_same_time(tmp_path: Path) -> None:
    """Threads that need the same new folders do not get in each other's way, and none overtakes their fsync."""
    fs = RecordedFileSystem()
    store = FilesystemStore(tmp_path, fs=fs)
    barrier = threading.Barrier(8)
    results: list[Key] = []

    def send(number: int) -> None:
        barrier.wait(10)
        results.append(put(store, CONTENT, new_key(number / 100)).key)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == list(store.keys())
    made = [call.path for call in fs.calls if call.name == "make_directory"]
    assert len(made) == len(set(made))
    first_link = [call.name for call in fs.calls].index("link", fs.calls.index(Call("make_directory", made[-1])))
    assert Call("sync_directory", made[-1].parent) in fs.calls[:first_link]


def test_a_store_for_reading_creates_nothing(tmp_path: Path) -> None:
    """Whoever may only read the folder can open it; where nothing was ever stored there is nothing."""
    store = FilesystemStore(tmp_path, read_only=True)

    assert [] == list(store.keys())
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [262_143, 300_000, 1_048_576 - 4096, 1_048_576, 2_500_001])
def test_large_objects_come_back(tmp_path: Path, size: int) -> None:
    """What is large enough to go past the page cache comes back bit for bit, whatever its length."""
    content = random.Random(size).randbytes(size)
    store = FilesystemStore(tmp_path)
    stored = put(store, content)
    with store.open(stored.key) as source:
        source.seek(stored.offset)
        assert content == source.read()


def test_large_object_where_the_page_cache_is_all_there_is(tmp_path: Path) -> None:
    """A file system that does no direct I/O takes large objects, too."""
    fs = RecordedFileSystem(fails_at("bypass_cache", number=errno.EINVAL))
    stored = put(FilesystemStore(tmp_path, fs=fs), bytes(700_000))

    assert "bypass_cache" in [call.name for call in fs.calls]
    assert "use_cache" not in [call.name for call in fs.calls]
    assert path_of(tmp_path, stored.key).stat().st_size == 700_000 + stored.offset


def test_large_object_on_a_disk_with_larger_blocks(tmp_path: Path) -> None:
    """A disk that refuses pieces of whole pages takes them through the page cache."""

    class LargeBlocks(RecordedFileSystem):
        def write(self, descriptor: int, content: bytes | memoryview) -> int:
            is_direct = [call.name for call in self.calls if "cache" in call.name][-1:] == ["bypass_cache"]
            if is_direct:
                raise OSError(errno.EINVAL, "Invalid argument")
            return super().write(descriptor, content)

    content = random.Random(1).randbytes(700_000)
    store = FilesystemStore(tmp_path, fs=LargeBlocks())

    assert content == read(store, put(store, content))
