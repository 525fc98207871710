"""The notation of retention rules: what is deleted by itself, as conditions that all have to be true."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

_FORM = 'such as "older_than=10 y modality=CT,MR peer=CT1"'
_WORD = re.compile(r"\s*([a-z_]+)\s*=\s*(.*?)\s*(?=$|\s[a-z_]+\s*=)")
_AGE = re.compile(r"([0-9]{1,5})\s*(d|y)")
_UNITS = {"d": timedelta(days=1), "y": timedelta(days=365.25)}
_LIST = re.compile(r"[^,\\]{1,16}(?:,[^,\\]{1,16})*")


@dataclass(frozen=True, slots=True)
class Rule:
    """A study is due when all its instances are as this says. Empty sets say nothing."""

    older_than: timedelta  # since arrival
    modalities: frozenset[str] = frozenset()
    peers: frozenset[str] = frozenset()  # calling AE titles


def parse(text: str) -> Rule:
    """The rule. Raises ValueError, for people."""
    words, end = dict[str, str](), 0
    for found in _WORD.finditer(text):
        if found.start() != end or found[1] in words:
            break
        words[found[1]], end = found[2], found.end()
    if text[end:].strip() or not words:
        raise ValueError(f"not a rule; {_FORM}")
    unknown = [word for word in words if word not in ("older_than", "modality", "peer")]
    if unknown:
        raise ValueError(f"a rule has no {unknown[0]}, only older_than, modality and peer; {_FORM}")
    age = _AGE.fullmatch(words.get("older_than", ""))
    if age is None:
        raise ValueError(f"a rule needs older_than in days or years; {_FORM}")
    return Rule(int(age[1]) * _UNITS[age[2]], _set(words, "modality"), _set(words, "peer"))


def _set(words: dict[str, str], name: str) -> frozenset[str]:
    if name not in words:
        return frozenset()
    if not _LIST.fullmatch(words[name]):
        raise ValueError(f"{name} of a rule is a list of names of up to 16 characters; {_FORM}")
    return frozenset(one.strip() for one in words[name].split(","))
