"""Everything the scrub keeps, in one file."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pacsnode.integrity.course import CourseKeeper
from pacsnode.integrity.database import Database
from pacsnode.integrity.findings import Findings


class Ledger:
    """Findings and course. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it where there is none. Raises IndexFailure."""
        self._database = Database(path)
        self.findings = Findings(self._database)
        self.course = CourseKeeper(self._database)

    def complaints(self, now: datetime, *, full_pass: timedelta) -> list[str]:
        """What is wrong now, a line for each kind of it, for people. Raises IndexFailure."""
        found, course = self.findings.figures().complaints(), self.course.read()
        if course is not None and now - course.began_at > full_pass:
            days = (now - course.began_at) // timedelta(days=1)
            found.append(
                f"the scrub is behind: its pass began {days} days ago; a higher rate in [jobs.integrity] helps"
            )
        return found

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()
