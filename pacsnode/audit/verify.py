"""Is the trail what was written? Every byte of it is looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pacsnode.audit import chain, files
from pacsnode.audit.chain import Link, Record
from pacsnode.errors import AuditFailure


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is not as it was written. ``sequence`` is 0 where the record does not tell."""

    file: str
    offset: int
    sequence: int
    problem: str


@dataclass(slots=True)
class Verdict:
    """What was found. ``torn_bytes`` is what a power cut, or a node that is just writing, left of a last record."""

    records: int = 0
    messages: int = 0
    sealed: int = 0  # the last record that a good seal speaks for
    torn_bytes: int = 0
    flaws: list[Flaw] = field(default_factory=list)


def verify(path: Path, key: Ed25519PublicKey, advance: Callable[[], None] = lambda: None) -> Verdict:
    """Check the whole trail; ``advance`` is called for each record. Raises AuditFailure where it cannot be read."""
    verdict = Verdict()
    try:
        noted = _noted_seal(path, key, verdict)  # first: what is added meanwhile comes behind it
        walk = _Walk(key, verdict, noted)
        for file, offset, line in files.lines(path):
            walk.take(file.name, offset, line)
            advance()
    except OSError as error:
        raise AuditFailure(f"{path}: cannot be read: {error.strerror}") from error
    walk.end(path)
    return verdict


class _Walk:
    """Follows the chain from record to record; behind a flaw it believes the record and goes on."""

    def __init__(self, key: Ed25519PublicKey, verdict: Verdict, noted: Link | None) -> None:
        self._key = key
        self._verdict = verdict
        self._noted = noted
        self._link: Link | None = chain.START
        self._expected = 1

    def take(self, file: str, offset: int, line: bytes) -> None:
        """One line, in order."""
        record = chain.decode(line)
        if record is None:
            self._take_unreadable(file, offset, line)
            return
        self._verdict.records += 1
        self._verdict.messages += record.kind == chain.MESSAGE
        problem = self._problem_of(record, line)
        if problem:
            self._flaw(file, offset, record.link.sequence, problem)
        elif record.kind == chain.SEAL and self._link is not None:
            self._verdict.sealed = self._link.sequence
        self._link = record.link
        self._expected = record.link.sequence + 1
        if self._noted is not None and record.link == self._noted:
            self._noted = None

    def end(self, path: Path) -> None:
        """Nothing follows: is what was sealed there?"""
        if self._noted is not None:
            words = f"record {self._noted.sequence} was sealed, and is not there as it was"
            self._flaw(path.name, 0, self._noted.sequence, words)

    def _problem_of(self, record: Record, line: bytes) -> str:
        sequence = record.link.sequence
        if sequence > self._expected:
            return f"records {self._expected} to {sequence - 1} are missing"
        if sequence < self._expected:
            return f"record {sequence} is out of order: {self._expected} was to come"
        if self._link is None:
            return ""  # what is before it cannot be read, which was said
        if chain.encode(self._link, record.kind, record.payload)[0] != line:
            return "altered, or it does not follow the record before it"
        if record.kind == chain.SEAL and not chain.is_sealed(self._link, record.payload, self._key):
            return "a seal that was not made with this key"
        return ""

    def _take_unreadable(self, file: str, offset: int, line: bytes) -> None:
        if not line.endswith(b"\n") and chain.is_torn(line):
            self._verdict.torn_bytes += len(line)
            return
        self._flaw(file, offset, 0, f"no record: {len(line)} bytes")
        self._link = None
        self._expected += 1

    def _flaw(self, file: str, offset: int, sequence: int, problem: str) -> None:
        self._verdict.flaws.append(Flaw(file, offset, sequence, problem))


def _noted_seal(path: Path, key: Ed25519PublicKey, verdict: Verdict) -> Link | None:
    """What the last seal spoke for."""
    where = files.sealed_path(path)
    with contextlib.suppress(FileNotFoundError):
        words = where.read_bytes().split()
        with contextlib.suppress(ValueError, IndexError):
            link = Link(int(words[0]), words[1])
            if chain.is_sealed(link, words[2], key):
                return link
        verdict.flaws.append(Flaw(where.name, 0, 0, "the note of the last seal was not made with this key"))
    return None
