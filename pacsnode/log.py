"""One line per event, key=value, to stderr. Whatever a peer sent is escaped, so that nobody forges a line."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from pathlib import Path
from typing import TextIO

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+,\[\]()*-]+\Z")
_MAX_VALUE_CHARACTERS = 256
_CRASH_FRAMES = 6
_LOGGER = logging.getLogger("pacsnode")


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log one event. Values are quoted where needed and cut at 256 characters; None is left out."""
    if _LOGGER.isEnabledFor(level):
        parts = [f"event={name}"]
        parts += [f"{key}={_value(value)}" for key, value in fields.items() if value is not None]
        # A record made here, because Logger.log would look up the caller, which nobody reads.
        _LOGGER.handle(logging.LogRecord("pacsnode", level, "", 0, " ".join(parts), None, None))


def crash(name: str, /, **fields: object) -> None:
    """Log an error that nobody foresaw, being handled now: where it happened, not what it said.

    The text of a foreign exception may hold what a peer sent, patient data included; the places do not.
    """
    kind, _, trace = sys.exc_info()
    frames = traceback.extract_tb(trace)[-_CRASH_FRAMES:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in reversed(frames))
    event(name, level=logging.ERROR, error=kind.__name__ if kind else None, where=where, **fields)


def start(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send our events and the libraries' warnings to the stream (stderr), each on one escaped line."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # What no line shows need not be found out for each.
    logging.logProcesses = logging.logThreads = logging.logMultiprocessing = False
    set_level(level)


def set_level(level: str) -> None:
    """The least level of our events that is written from now on."""
    _LOGGER.setLevel(level)


class _OneLine(logging.Formatter):
    """Escapes control characters of the whole line: libraries log what peers sent, too."""

    def format(self, record: logging.LogRecord) -> str:
        return _escape(super().format(record))


def _value(value: object) -> str:
    text = str(value)
    if len(text) > _MAX_VALUE_CHARACTERS:
        text = text[:_MAX_VALUE_CHARACTERS] + "…"
    if _PLAIN.match(text):
        return text
    return '"' + _escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
