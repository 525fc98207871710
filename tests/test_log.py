"""One line per event, whatever a peer sends."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from pacsnode import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("pacsnode")
    before = root.handlers[:], root.level, ours.level
    written = io.StringIO()
    log.start("INFO", written)
    yield written
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_event_is_one_line_of_pairs(stream: io.StringIO) -> None:
    """Plain values stand as they are, others in quotes; None is left out."""
    log.event("stored", uid="1.2.3", ms=1.5, reason="two words", peer=None)

    assert stream.getvalue().endswith(' INFO event=stored uid=1.2.3 ms=1.5 reason="two words"\n')


@pytest.mark.parametrize("hostile", ["A\nI: forged", "A\r\x1b[2J", 'A" event=forged', "A\u2028B", "\x00"])
def test_a_peer_cannot_forge_a_line(stream: io.StringIO, hostile: str) -> None:
    """Control characters and quotes of a peer's value stay inside the value, on the one line."""
    log.event("association", peer=hostile)

    written = stream.getvalue()
    assert 1 == written.count("\n")
    assert all(c.isprintable() for c in written[:-1])
    assert 2 == written.replace('\\"', "").count('"')


def test_libraries_are_escaped_too(stream: io.StringIO) -> None:
    """What a library logs of a peer cannot forge a line either."""
    logging.getLogger("pynetdicom").warning("title %s", "A\nevent=forged")

    assert 1 == stream.getvalue().count("\n")


def test_long_values_are_cut(stream: io.StringIO) -> None:
    """No peer fills the log with one value."""
    log.event("refused", uid="1" * 10_000)

    assert len(stream.getvalue()) < 400


def test_a_crash_tells_where_and_not_what(stream: io.StringIO) -> None:
    """The text of an exception may hold patient data: the log has its kind and place."""
    try:
        raise ValueError("Doe^John")
    except ValueError:
        log.crash("connection_crashed", address="127.0.0.1")

    assert "Doe" not in stream.getvalue()
    assert "error=ValueError" in stream.getvalue()
    assert "test_log.py:" in stream.getvalue()


def test_the_level_is_kept(stream: io.StringIO) -> None:
    """Nothing below the configured level is written."""
    log.event("detail", level=logging.DEBUG)

    assert "" == stream.getvalue()
