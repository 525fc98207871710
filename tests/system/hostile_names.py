"""Names as an attacker would choose them, to be put wherever a peer or a file may say a name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

MARK = "zzevil"  # in each of them: nothing on the disk may ever be called so
_CLIMBS = ("../", "..\\", "....//", "%2e%2e/", "..%c0%af", "..%5c", "/", "//", "\\\\host\\", "./", "~/", "file:///")
_ENDINGS = ("", "\0", "\0.dcm", "\n", "\r\nevent=forged", "\x1b[2J", "\x1b]0;x\x07", "\u2028", "\x85", " ", ".", "/.")
_FORMATS = ("%n%n%n%n", "%s%s%s", "{0.__class__}", "${IFS}", "$(touch {})", "`touch {}`", ";touch {};", "|touch {}")
_WORDS = (
    "A" * 64,
    "A" * 300,
    "\u202egnp",
    "Ａ",
    "é",
    "e\u0301",
    "山田",
    "\U0001f480",
    "\ufeff",
    "con",
    "NUL",
    "*",
    "?",
)
_PLACES = ("etc/passwd", "root/.ssh/authorized_keys", "lock", "index.db", "objects", "spool", "mark", "pacsnode.toml")


def names(count: int, *targets: Path) -> Iterator[str]:
    """So many different names, in a fixed order; some of them are paths into the targets."""
    yield from itertools.islice(_endless(targets), count)


def _endless(targets: tuple[Path, ...]) -> Iterator[str]:
    absolute = [f"{target}/{MARK}" for target in targets]
    for round_number in itertools.count():
        for number, (climb, ending) in enumerate(itertools.product(_CLIMBS, _ENDINGS)):
            yield f"{climb * (round_number + 1)}{MARK}{number}{ending}"
        for number, (form, word) in enumerate(itertools.product(_FORMATS, _WORDS)):
            yield f"{form.replace('{}', MARK)}{word}{MARK}{round_number}.{number}"
        for number, (place, path) in enumerate(itertools.product(_PLACES, absolute)):
            yield f"{path}{round_number}.{number}/{place}"
        for number, (place, ending) in enumerate(itertools.product(_PLACES, _ENDINGS)):
            yield f"{'../' * round_number}{place}{ending}{MARK}{number}"
