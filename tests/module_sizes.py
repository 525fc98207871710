"""``make check``: no module grows beyond what fits in a head."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT_LINES = 500


def too_long(root: Path) -> list[str]:
    """Modules below the root with more lines than the limit, as "path: lines"."""
    sizes = {path: len(path.read_text().splitlines()) for path in sorted(root.rglob("*.py"))}
    return [f"{path}: {lines} lines" for path, lines in sizes.items() if lines > LIMIT_LINES]


if __name__ == "__main__":
    found = [line for folder in ("pacsnode", "tests", "benchmarks", "packaging") for line in too_long(Path(folder))]
    if found:
        sys.exit(f"modules over {LIMIT_LINES} lines; split them by noun:\n" + "\n".join(found))
