"""Everything the scrub keeps, in one file."""

from __future__ import annotations

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

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()
