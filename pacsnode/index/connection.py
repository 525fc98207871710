"""Opening SQLite as it must be opened: a library without the WAL-reset bug, a local disk, and the pragmas we rely on.

SQLite comes with apsw (docs/decisions/0001-sqlite-build.md). Its errors leave this room as IndexFailure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
from peewee import PeeweeException
from playhouse.apsw_ext import APSWDatabase

from pacsnode.errors import IndexFailure

OLDEST_LIBRARY = (3, 51, 3)  # 3.7.0 to 3.51.2 can corrupt a database when a WAL reset meets another writer
BUSY_SECONDS = 10
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs"})
_PAGE_BYTES = 4096
_LOG_PAGES = 4000
_FILLER_CACHE_PAGES = 10  # so few that a transaction spills into the log
_WRITER_PRAGMAS: dict[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "mmap_size": 0,
    "wal_autocheckpoint": _LOG_PAGES,
    "journal_size_limit": 64 * 1024 * 1024,
    "cache_size": -64 * 1024,  # KiB
}
_READER_PRAGMAS = {"query_only": 1, "mmap_size": 0, "wal_autocheckpoint": 0, "cache_size": -8 * 1024}


@contextmanager
def translated(doing: str, name: str = "index") -> Iterator[None]:
    """Raise what SQLite and peewee raise as IndexFailure; their texts name columns, never values.

    ``name``: what people call the database.
    """
    try:
        yield
    except (apsw.Error, PeeweeException) as error:
        raise IndexFailure(f"{name}: {doing}: {error}") from error


def open_writer(path: Path, name: str = "index") -> APSWDatabase:
    """The one connection that writes and checkpoints. Creates the file where there is none, readable by its group."""
    refuse_unsafe(path, name)
    with translated("cannot open", name):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
        except OSError as error:
            raise IndexFailure(f"{name}: cannot open {path}: {error.strerror}") from error
        database = APSWDatabase(
            str(path), pragmas=_WRITER_PRAGMAS, timeout=BUSY_SECONDS, thread_safe=False, lock_type="IMMEDIATE"
        )
        database.connect()
        # Else SQLite prepares the look-up of an instance anew for every value: what is bound might satisfy the
        # condition of a partial index. That is a third of what a row costs, without the disk.
        connection_of(database).config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        if pragma(connection_of(database), "journal_mode") != "wal":
            database.close()
            raise IndexFailure(f"{name}: {path} cannot be switched to a write-ahead log")
    return database


def grow_log(connection: apsw.Connection) -> None:
    """Give the write-ahead log its full length at once. Raises IndexFailure.

    A commit that lengthens the file makes the sync commit the file system's journal too, and with it whatever others
    have under way: about 0.4 ms instead of 0.2. What is written here is rolled back; commits write over it.
    """
    with translated("cannot lengthen the log"):
        connection.pragma("cache_size", _FILLER_CACHE_PAGES)
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("CREATE TABLE filler (filler BLOB)")
            connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (_LOG_PAGES * _PAGE_BYTES,))
        finally:
            if connection.in_transaction:  # on a full disk SQLite has rolled back by itself
                connection.execute("ROLLBACK")
            connection.pragma("cache_size", _WRITER_PRAGMAS["cache_size"])


def open_reader(path: Path) -> APSWDatabase:
    """A connection that cannot write: opened read-only, it never checkpoints either, not even as the last to close."""
    refuse_unsafe(path)
    if not path.is_file():
        raise IndexFailure(f"index: {path} does not exist")
    with translated("cannot open"):
        database = APSWDatabase(
            str(path),
            pragmas=_READER_PRAGMAS,
            timeout=BUSY_SECONDS,
            thread_safe=False,
            flags=apsw.SQLITE_OPEN_READONLY,
        )
        database.connect()
    return database


def connection_of(database: APSWDatabase) -> apsw.Connection:
    """The apsw connection below peewee, for statements where milliseconds count."""
    connection: apsw.Connection = database.connection()
    return connection


def pragma(connection: apsw.Connection, name: str) -> apsw.SQLiteValue:
    """What the connection itself says of a setting."""
    return connection.pragma(name)


def refuse_unsafe(path: Path, name: str = "index") -> None:
    """Raise IndexFailure where SQLite has the WAL-reset bug or the file would lie on a network file system."""
    refuse_library(apsw.sqlite_lib_version())
    kind = filesystem_of(path.absolute().parent.resolve(), _mounts())
    if kind in _REMOTE:
        raise IndexFailure(f"{name}: {path} is on a {kind} file system; a write-ahead log needs a local disk")


def file_system(folder: Path) -> str:
    """The type of the file system that the folder is on, or would be; "" if unknown."""
    nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return filesystem_of(nearest.resolve(), _mounts())


def library_version() -> str:
    """The version of the SQLite that is used."""
    return apsw.sqlite_lib_version()


def refuse_library(version: str) -> None:
    """Raise IndexFailure for a SQLite older than 3.51.3."""
    if tuple(int(part) for part in version.split(".")) < OLDEST_LIBRARY:
        raise IndexFailure(f"index: SQLite {version} can corrupt its write-ahead log; 3.51.3 or newer is needed")


def filesystem_of(folder: Path, mounts: str) -> str:
    """The type of the file system that holds the folder, by the text of ``/proc/self/mountinfo``; "" if unknown."""
    found, depth = "", -1
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        mounted = Path(_unescape(left.split(" ")[4]))
        # What is mounted later over the same folder hides what was there before.
        if folder.is_relative_to(mounted) and len(mounted.parts) >= depth:
            found, depth = right.split(" ")[0], len(mounted.parts)
    return found


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text()
    except OSError:
        return ""


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
