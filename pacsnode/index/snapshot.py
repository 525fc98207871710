"""A copy of a database that is in use, whole and of one moment."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from pacsnode.errors import IndexFailure
from pacsnode.index.connection import BUSY_SECONDS, translated


def copy_of(path: Path, to: Path) -> None:
    """Write what the SQLite file holds now to a new file; beside a running node too. It is not made durable.

    Raises IndexFailure; then there may be a part of the copy.
    """
    if not path.is_file():
        raise IndexFailure(f"{path} does not exist")
    with translated("cannot copy", path.name), closing(_open(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(to),))


def damage_of(path: Path) -> list[str]:
    """What SQLite's integrity check finds in a file that nobody else uses; the texts name pages and tables only."""
    try:
        with closing(_open(path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
    except apsw.Error as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def renew_identity(path: Path) -> None:
    """Make an index that nobody uses another one than that which it is a copy of. Raises IndexFailure."""
    with translated("cannot change", path.name), closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE identity SET value = lower(hex(randomblob(16)))")


def _open(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_SECONDS * 1000)
    return connection
