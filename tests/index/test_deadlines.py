"""A read that takes too long is ended; what comes after it on the same connection is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from pacsnode.errors import QueryTooLong
from pacsnode.index.deadlines import Deadlines
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Level, Query, Wildcard
from tests.index.samples import fill

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT max(i) FROM n"
ENDLESS = COUNT.format(30_000_000)  # some seconds: a test that fails must end
LONG = COUNT.format(100_000)
ROWS = 300_000  # some 40 ms of scanning, for a deadline of 2
MANY = Query(Level.STUDY, {"study_description": Wildcard("*x*")}, ("study_instance_uid",))


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    """A twentieth of a second."""
    with closing(Deadlines(0.05)) as kept:
        yield kept


def test_an_endless_read_ends(deadlines: Deadlines) -> None:
    """At the deadline, and the connection is as good as before."""
    connection = apsw.Connection(":memory:")
    began = time.monotonic()
    with pytest.raises(QueryTooLong, match=r"not read within 0\.05 s"), deadlines.kept(connection):
        connection.execute(ENDLESS).fetchall()
    took = time.monotonic() - began
    with deadlines.kept(connection):
        rows = connection.execute("SELECT 1").fetchall()

    assert 0.05 <= took < 1.0
    assert [(1,)] == rows


def test_a_read_after_a_rest(deadlines: Deadlines) -> None:
    """The first read after nobody has read for a while has its deadline, too."""
    connection = apsw.Connection(":memory:")
    with deadlines.kept(connection):
        connection.execute("SELECT 1").fetchall()
    limit = time.monotonic() + 5
    while not deadlines._is_asleep and time.monotonic() < limit:
        connection.execute(LONG).fetchall()

    assert deadlines._is_asleep
    with pytest.raises(QueryTooLong), deadlines.kept(connection):
        connection.execute(ENDLESS).fetchall()


def test_each_connection_has_its_own(deadlines: Deadlines) -> None:
    """Many endless reads at a time all end, though they begin while others are watched already."""
    ended = []

    def read() -> None:
        connection = apsw.Connection(":memory:")
        with pytest.raises(QueryTooLong), deadlines.kept(connection):
            connection.execute(ENDLESS).fetchall()
        ended.append(connection)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert 8 == len(ended)


def test_what_is_over_is_left_alone(deadlines: Deadlines) -> None:
    """A connection that is not read from under a deadline any more is never interrupted."""
    connection = apsw.Connection(":memory:")
    with deadlines.kept(connection):
        connection.execute("SELECT 1").fetchall()
    limit = time.monotonic() + 0.2

    while time.monotonic() < limit:
        assert [(100_000,)] == connection.execute(LONG).fetchall()


def test_the_thread_ends(deadlines: Deadlines) -> None:
    """Closing leaves no thread behind."""
    with deadlines.kept(apsw.Connection(":memory:")):
        pass
    deadlines.close()

    assert "query deadlines" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a hundred thousand studies."""
    path = tmp_path_factory.mktemp("large") / "index.db"
    fill(path, ROWS)
    return path


OPERATIONS: dict[str, Callable[[SqliteIndex], object]] = {
    "find": lambda index: list(index.find(MANY)),
    "instances": lambda index: list(index.instances(MANY)),
    "count": lambda index: index.count_instances(MANY),
    "kinds": lambda index: index.kinds(MANY),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_queries_have_a_deadline(large: Path, operation: Callable[[SqliteIndex], object]) -> None:
    """Whatever reads the index for a peer ends in time; without a deadline it comes to its end."""
    with closing(SqliteIndex(large, query_seconds=0.002)) as index, pytest.raises(QueryTooLong):
        operation(index)
    with closing(SqliteIndex(large)) as index:
        operation(index)
