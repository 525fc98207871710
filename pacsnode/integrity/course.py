"""How far the scrub is: one pass after the other over all keys in their order, which is that of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pacsnode.index.statefile import moment_column, moment_of
from pacsnode.integrity.database import Database

LEAST_BYTES = 16 * 1024 * 1024
"""What a run reads in any case, however little is due: a small archive is through several times a day."""
_SHARE = 0.9  # of the time for a pass that it is planned to take: the rest is for what holds it up


@dataclass(frozen=True, slots=True)
class Course:
    """The pass under way, and the end of the one before it."""

    cursor: str  # the last key that was seen; "" at the beginning of a pass
    began_at: datetime
    objects: int = 0  # so far in this pass
    bytes: int = 0
    finished_at: datetime | None = None  # of the pass before; None: there was none

    def due_bytes(self, now: datetime, *, total: int, full_pass: timedelta) -> int:
        """How much to read now, so that a pass over ``total`` bytes takes ``full_pass`` at most."""
        planned = min((now - self.began_at) / (full_pass * _SHARE), 1.0)
        return max(int(total * planned) - self.bytes, LEAST_BYTES)

    def after(self, key: str, size: int) -> Course:
        """One object further."""
        return Course(key, self.began_at, self.objects + 1, self.bytes + size, self.finished_at)


class CourseKeeper:
    """Keeps the course. Raises IndexFailure when the database cannot do its part."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Course | None:
        """Where the last run got to; None where there was none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT cursor, began_at, objects, bytes, finished_at FROM course").fetchone()
        if row is None:
            return None
        cursor, began, objects, size, finished = row
        return Course(cursor, moment_of(began), objects, size, None if finished is None else moment_of(finished))

    def write(self, course: Course) -> None:
        """Keep it; durable when it returns."""
        finished = None if course.finished_at is None else moment_column(course.finished_at)
        values = (course.cursor, moment_column(course.began_at), course.objects, course.bytes, finished)
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO course VALUES (1, ?, ?, ?, ?, ?)", values)
