"""Whether a command said what the document shows, but for what differs from run to run."""

from __future__ import annotations

import re

# What differs from run to run and machine to machine, and what stands for it. In this order.
VOLATILE = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.,]\d+)?( UTC|Z|[+-]\d\d:\d\d)?", "<time>"),
    (r"\d{4}/\d\d/\d\d/[0-9a-f]{2}/[0-9a-f]{32}", "<key>"),
    (r"\bsha256:\S+", "<fingerprint>"),
    (r"\b2\.25\.\d{20,}", "<uid>"),
    (r"\b[0-9a-f]{8}\b", "<id>"),
    (r"\b\d{1,3}(\.\d{1,3}){3}\b", "<address>"),
    (r"\b\d+(\.\d+)? (ms|s)\b(?!=)", "<duration>"),
    (r"\bms=[\d.]+", "ms=<ms>"),
    (r'("(free|index)_bytes"): \d+', r"\1: <bytes>"),
    (r"(\b(free|index|stored|data): +)\S.*", r"\1<varies>"),
    (r"\b[\d.]+ [KMGT]?i?B restored", "<bytes> restored"),
    (r"\bversion [\d.]+", "version <version>"),
    (r" +", " "),
)
ANYTHING = "…"


def differences(shown: str, said: str) -> str:
    """ "" where they are alike; a line "…" in what is shown stands for any lines. Else both, to be read."""
    expected, actual = _plain(shown), _plain(said)
    if _alike(expected, actual):
        return ""
    return "shown:\n  " + "\n  ".join(map(repr, expected)) + "\nsaid:\n  " + "\n  ".join(map(repr, actual))


def _plain(text: str) -> list[str]:
    for pattern, word in VOLATILE:
        text = re.sub(pattern, word, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def _alike(expected: list[str], actual: list[str]) -> bool:
    if not expected:
        return not actual
    if expected[0].strip() == ANYTHING:
        return any(_alike(expected[1:], actual[skipped:]) for skipped in range(len(actual) + 1))
    return bool(actual) and _line(expected[0], actual[0]) and _alike(expected[1:], actual[1:])


def _line(expected: str, actual: str) -> bool:
    parts = (re.escape(part) for part in expected.split(ANYTHING))
    return re.fullmatch(".*".join(parts), actual) is not None
