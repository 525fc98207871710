"""What only the SQLite index promises: its file, its settings, its group commit and its failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import apsw
import pytest

from pacsnode.dicom.attributes import UNIQUE_KEYS
from pacsnode.errors import IndexFailure
from pacsnode.index import statements
from pacsnode.index.connection import OLDEST_LIBRARY, connection_of, filesystem_of, open_reader, pragma, refuse_library
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.index.writer import Request, Writer
from pacsnode.model import Condition, Instance, Level, Outcome, Query, StoredObject, Uid, Wildcard
from tests.index.samples import header, instance, key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(path: Path) -> Iterator[SqliteIndex]:
    index = SqliteIndex(path)
    yield index
    index.close()


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(path)
    yield writer
    writer.close()


def test_reopened(path: Path) -> None:
    """What was added is there after a restart, and the log was brought into the file."""
    index = SqliteIndex(path)
    index.add(instance(1))
    before = list(index.dump())
    index.close()

    assert ["index.db"] == [file.name for file in path.parent.iterdir()]
    index = SqliteIndex(path)
    assert before == list(index.dump())
    index.close()


def test_not_closed(path: Path, index: SqliteIndex) -> None:
    """What was acknowledged is in the file even if the process ends without closing."""
    index.add(instance(1))
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.with_name("copy.db-wal").write_bytes(path.with_name("index.db-wal").read_bytes())

    recovered = SqliteIndex(copy)
    assert instance(1) == recovered.current(Uid("1.2.3.1"))
    recovered.close()


def test_private_file(path: Path, index: SqliteIndex) -> None:
    """Others cannot read the index."""
    assert 0 == path.stat().st_mode & 0o007


def test_settings_of_the_writer(writer: Writer) -> None:
    """The connection itself says that it logs ahead, syncs at each commit and maps no memory."""
    names = ("journal_mode", "synchronous", "mmap_size", "foreign_keys", "busy_timeout")

    assert ["wal", 2, 0, 1, 10_000] == [pragma(writer.connection, name) for name in names]


def test_settings_of_a_reader(path: Path, index: SqliteIndex) -> None:
    """A reader cannot write, and never checkpoints."""
    reader = connection_of(open_reader(path))

    names = ("query_only", "mmap_size", "wal_autocheckpoint", "busy_timeout")
    assert [1, 0, 0, 10_000] == [pragma(reader, name) for name in names]
    assert reader.readonly("main")
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM instance")
    reader.close()


def test_library_with_the_wal_reset_bug() -> None:
    """A SQLite older than 3.51.3 is refused, the one in use is not."""
    with pytest.raises(IndexFailure, match=r"3\.40\.1"):
        refuse_library("3.40.1")
    with pytest.raises(IndexFailure):
        refuse_library("3.51.2")
    refuse_library("3.51.3")
    refuse_library("3.100.0")
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= OLDEST_LIBRARY


def test_file_system_by_mounts() -> None:
    """The deepest mount that holds the folder counts, the latest of several at one place."""
    mounts = (
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "40 27 0:40 / /srv rw shared:1 master:2 - xfs /dev/vdb rw\n"
        "41 40 0:41 / /srv/with\\040space rw - nfs4 server:/export rw\n"
        "42 27 0:42 / /mnt rw - ext4 /dev/vdc rw\n"
        "43 42 0:43 / /mnt rw - cifs //server/share rw\n"
    )

    assert "nfs4" == filesystem_of(Path("/srv/with space/pacs"), mounts)
    assert "xfs" == filesystem_of(Path("/srv/without"), mounts)
    assert "cifs" == filesystem_of(Path("/mnt"), mounts)
    assert "ext4" == filesystem_of(Path("/srvother"), mounts)
    assert "" == filesystem_of(Path("/srv"), "")


def test_check_is_bounded(tmp_path: Path) -> None:
    """Where there is no time to look through the file nothing is found; where there is, the damage is."""
    path = tmp_path / "index.db"
    with closing(SqliteIndex(path)) as index:
        index.add_many([instance(number, header(f"1.2.3.{number}")) for number in range(1, 2_000)])
    content = bytearray(path.read_bytes())
    content[-4096:-4088] = b"\xff" * 8
    path.write_bytes(content)

    with closing(SqliteIndex(path, read_only=True)) as index:
        assert [] == index.problems(0.0)
        assert [] != index.problems(60.0)


def test_read_only_beside_a_running_node(path: Path, index: SqliteIndex) -> None:
    """A second process reads what the node commits, and can change nothing."""
    beside = SqliteIndex(path, read_only=True)
    index.add(instance(1))

    assert instance(1) == beside.current(Uid("1.2.3.1"))
    for change in (
        lambda: beside.add(instance(2)),
        lambda: beside.add_many([instance(2)]),
        lambda: beside.remove(Uid("1.2.3.1")),
    ):
        with pytest.raises(IndexFailure, match="reading only"):
            change()
    beside.close()


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 20, 21, 40])
def test_pages_of_matches(index: SqliteIndex, monkeypatch: pytest.MonkeyPatch, level: Level, count: int) -> None:
    """Every match once and in the order of arrival, however many searches and pages it takes."""
    monkeypatch.setattr(statements, "FIRST_ROWS", 7)
    monkeypatch.setattr(statements, "PAGE_IDS", 13)
    monkeypatch.setattr(statements, "PAGE_ROWS", 3)
    name = UNIQUE_KEYS[level]
    headers = [header(f"1.2.3.{n}", f"1.{n}", f"2.{n}", patient_id=f"P{n}", patient_name="Doe^J") for n in range(count)]
    index.add_many([instance(n, found) for n, found in enumerate(headers)])
    expected = {Level.PATIENT: "P{}", Level.STUDY: "1.{}", Level.SERIES: "2.{}", Level.IMAGE: "1.2.3.{}"}[level]

    asked: tuple[dict[str, Condition], ...] = ({}, {"patient_name": Wildcard("Doe*")}, {"patient_name": Wildcard("*J")})
    for conditions in asked:
        found = index.find(Query(level, conditions, (name,)))

        assert [expected.format(n) for n in range(count)] == [match.values[name] for match in found]


def test_read_only_of_nothing(path: Path) -> None:
    """Reading only creates nothing."""
    with pytest.raises(IndexFailure, match="does not exist"):
        SqliteIndex(path, read_only=True)
    assert not path.exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_not_a_database(path: Path, read_only: bool) -> None:
    """A file of something else is refused and left as it is."""
    path.write_bytes(b"no database at all" * 100)

    with pytest.raises(IndexFailure):
        SqliteIndex(path, read_only=read_only)
    assert b"no database at all" * 100 == path.read_bytes()


def test_without_its_folder(tmp_path: Path) -> None:
    """A missing folder is an error that names the path."""
    with pytest.raises(IndexFailure, match="missing"):
        SqliteIndex(tmp_path / "missing" / "index.db")


def test_used_after_close(path: Path) -> None:
    """A closed index says so."""
    index = SqliteIndex(path)
    index.close()

    with pytest.raises(IndexFailure, match="closed"):
        index.add(instance(1))
    with pytest.raises(IndexFailure, match="closed"):
        index.totals()


def test_one_bad_row_in_a_batch(writer: Writer) -> None:
    """Of requests that share a transaction only the failing one fails; what it wrote is undone."""
    rolled_back: list[None] = []
    writer.on_rollback = lambda: rolled_back.append(None)

    def count(more: int) -> int:
        writer.connection.execute("UPDATE totals SET instances = instances + ?", (more,))
        if more == 10:
            writer.connection.execute("INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0)")
        return more

    batch: list[Request[object]] = [Request(partial(count, more)) for more in (1, 10, 100)]
    writer.commit(batch)

    assert [1, 100] == [batch[0].outcome(), batch[2].outcome()]
    with pytest.raises(IndexFailure, match="UNIQUE"):
        batch[1].outcome()
    assert 101 == writer.connection.execute("SELECT instances FROM totals").get
    assert rolled_back


def test_commits_are_told(writer: Writer) -> None:
    """How many requests shared a transaction, and its time; a transaction that wrote nothing is not told."""
    told: list[tuple[int, float]] = []
    writer.on_commit = lambda requests, seconds: told.append((requests, seconds))
    statement = "UPDATE totals SET bytes = bytes + 1"
    writer.commit([Request[object](lambda: writer.connection.execute(statement)) for _ in range(3)])
    writer.run(lambda: None)

    assert [3] == [requests for requests, _ in told]
    assert 0 < told[0][1] < 60


def test_error_goes_to_the_thread_that_asked(writer: Writer) -> None:
    """Even an error that nobody foresaw reaches the one who caused it, not the one who commits."""
    batch: list[Request[object]] = [Request(lambda: 1 // 0), Request(lambda: "fine")]
    writer.commit(batch)

    assert "fine" == batch[1].outcome()
    with pytest.raises(ZeroDivisionError):
        batch[0].outcome()


def test_failed_commit(writer: Writer) -> None:
    """Where the commit itself fails, everyone who waits for it hears so; the next one works."""
    writer.connection.set_commit_hook(lambda: True)
    batch: list[Request[object]] = [
        Request(lambda: writer.connection.execute("UPDATE totals SET bytes = 7")) for _ in range(3)
    ]
    writer.commit(batch)
    writer.connection.set_commit_hook(None)

    for request in batch:
        with pytest.raises(IndexFailure, match="cannot commit"):
            request.outcome()
    assert "works" == writer.run(lambda: "works")
    assert 0 == writer.connection.execute("SELECT bytes FROM totals").get


def test_failed_sync(writer: Writer) -> None:
    """After a sync that failed nothing is written any more: a second sync would mean nothing."""

    def sync_fails() -> bool:
        raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    writer.connection.set_commit_hook(sync_fails)
    with pytest.raises(IndexFailure, match="cannot commit"):
        writer.run(lambda: writer.connection.execute("UPDATE totals SET bytes = 7"))
    writer.connection.set_commit_hook(None)

    with pytest.raises(IndexFailure, match="sync failed"):
        writer.run(lambda: "anything")


def test_sixteen_threads_share_commits(writer: Writer) -> None:
    """Requests that come while one commits are committed together, each getting its own answer."""
    commits: list[None] = []
    writer.connection.set_commit_hook(lambda: bool(commits.append(None)))  # type: ignore[func-returns-value]  # None
    held, gate = threading.Event(), threading.Event()
    answers: dict[int, int] = {}

    def hold() -> None:
        held.set()
        gate.wait()

    def ask(number: int) -> None:
        answers[number] = writer.run(lambda: write(number))

    def write(number: int) -> int:
        writer.connection.execute("UPDATE totals SET instances = instances + 1")
        return number

    first = threading.Thread(target=writer.run, args=(hold,))
    first.start()
    held.wait()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(writer._waiting) == 16)
    gate.set()
    for thread in [first, *threads]:
        thread.join()

    assert {number: number for number in range(16)} == answers
    assert 16 == writer.connection.execute("SELECT instances FROM totals").get
    assert 2 == len(commits)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline, idle = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        idle.wait(0.001)


def test_disk_full(path: Path) -> None:
    """On a full disk an add fails and leaves nothing; what was acknowledged stays, and with room it goes on."""
    index = SqliteIndex(path)
    assert index._writer is not None
    connection = index._writer.connection
    acknowledged: list[Instance] = []
    connection.pragma("max_page_count", int(str(pragma(connection, "page_count"))) + 8)

    def fill() -> None:
        for number in range(2000):
            added = instance(number, header(f"1.{number}", series=f"2.{number}"))
            index.add(added)
            acknowledged.append(added)

    with pytest.raises(IndexFailure, match="full"):
        fill()
    with pytest.raises(IndexFailure, match="full"):
        index.add_many([instance(number, header(f"3.{number}", f"4.{number}")) for number in range(5000, 5500)])

    assert acknowledged == list(index.everything())
    connection.pragma("max_page_count", 1_000_000)
    late = instance(9999, header("9.9"))
    assert Outcome.STORED is index.add(late)
    assert [*acknowledged, late] == list(index.everything())
    assert len(acknowledged) + 1 == index.totals().instances
    assert "ok" == pragma(connection, "integrity_check")
    index.close()


def test_key_of_another_instance(index: SqliteIndex) -> None:
    """A key belongs to one instance; the text of the error has no values of the data set."""
    index.add(instance(1, header("1.1", patient_name="Doe^John")))

    with pytest.raises(IndexFailure, match=r"^index: cannot write: UNIQUE constraint failed: instance\.key$"):
        index.add(instance(1, header("1.2", patient_name="Doe^John")))
    assert 1 == index.totals().instances


def test_text_that_is_no_utf8(index: SqliteIndex) -> None:
    """Text that was decoded with surrogates is kept as well as can be, never refused."""
    index.add(instance(1, header(patient_name="M\udcfcller")))

    kept = index.current(Uid("1.2.3.1"))
    assert kept is not None
    assert "M?ller" == kept.header.patient_name


def test_locked_by_another_process(path: Path, index: SqliteIndex) -> None:
    """While somebody else holds the write lock an add waits; when that takes too long it is an IndexFailure."""
    assert index._writer is not None
    index._writer.connection.set_busy_timeout(1)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(IndexFailure, match="locked"):
        index.add(instance(1))
    other.close()
    assert Outcome.STORED is index.add(instance(1))


def test_malformed_digest(index: SqliteIndex) -> None:
    """A digest that is none is the caller's mistake, and fails in the caller before anything is written."""
    with pytest.raises(ValueError, match="hex"):
        index.add(Instance(header(), StoredObject(key(1), 1, "xyz", Uid("1.2"), 0), instance(1).received_at, "A", "B"))
