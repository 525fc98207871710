"""The state file of the scrub: how far it is, and what it found. No object tells of it."""

from __future__ import annotations

from pathlib import Path

from pacsnode.index.statefile import StateFile

NAME = "integrity"
# What each version added, from the first. A finding is open while "closed_at" is NULL; there is one open finding for a
# key at most. "course" has one row.
_STEPS = (
    """
CREATE TABLE finding (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    uid TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    problem TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    tried_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    note TEXT NOT NULL,
    closed_at INTEGER
) STRICT;
CREATE UNIQUE INDEX finding_open ON finding (key) WHERE closed_at IS NULL;
CREATE INDEX finding_outcome ON finding (outcome);
CREATE TABLE course (
    number INTEGER PRIMARY KEY CHECK (number = 1),
    cursor TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
""",
)


class Database(StateFile):
    """The file of the findings, and of the course of the scrub."""

    def __init__(self, path: Path) -> None:
        """See StateFile."""
        super().__init__(path, NAME, _STEPS)
