"""Is the database file itself sound?"""

from __future__ import annotations

import time

import apsw

_INSTRUCTIONS = 1_000  # of SQLite's virtual machine, or pages, between two looks at the clock: some milliseconds
_MAX_PROBLEMS = 10


def quick(reader: apsw.Connection, seconds: float) -> list[str]:
    """What ``PRAGMA quick_check`` finds within so many seconds; the texts name pages and tables, never values."""
    deadline = time.monotonic() + seconds
    reader.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
    try:
        found = [str(row[0]) for row in reader.execute(f"PRAGMA quick_check({_MAX_PROBLEMS})")]
    except apsw.InterruptError:
        return []
    except apsw.CorruptError as error:
        return [str(error)]
    finally:
        reader.set_progress_handler(None)
    return [] if found == ["ok"] else found
