"""Proof of the keys: each at every level of every model, with each kind of matching that is claimed for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from pacsnode.conformance.claims import QUERY, Claims
from pacsnode.conformance.keys import Key, Matching
from pacsnode.dicom.attributes import BY_NAME, UNIQUE_KEYS
from pacsnode.dicom.identifier import Root
from pacsnode.dimse import contexts
from pacsnode.selftest import requests, samples
from pacsnode.selftest.proof import Proof, proof
from pacsnode.selftest.scu import Answers, Context, Scu, encoded

_Values = dict[str, frozenset[str]]
_Probe = tuple[str, frozenset[str]]  # what to ask for, and the unique keys of what has to be found
_NAMES = {Root.PATIENT: "Patient Root", Root.STUDY: "Study Root", Root.PATIENT_STUDY_ONLY: "Patient/Study Only"}


def find_contexts(claims: Claims) -> dict[Root, Context]:
    """A context for each model, in different transfer syntaxes."""
    found = {}
    for number, one in enumerate(claims.of_service(QUERY)):
        root = contexts.QUERY_RETRIEVE[one.uid][1]
        found[root] = (one.uid, one.transfer_syntaxes[number % len(one.transfer_syntaxes)])
    return found


def count_images(scu: Scu, claims: Claims) -> int:
    """How many images there are, as C-FIND tells."""
    context = any_context(claims)
    answers = scu.ask(requests.find(context[0], requests.identifier(context[1], "IMAGE", SOPInstanceUID="")), context)
    return len(answers.matches)


def any_context(claims: Claims) -> Context:
    """One of them that has all levels."""
    return next(context for root, context in find_contexts(claims).items() if len(root.levels) > 2)


def prove_keys(scu: Scu, claims: Claims) -> Iterator[Proof]:
    """The samples are stored, and nothing else."""
    models = find_contexts(claims)
    for key in claims.keys:
        values = samples.expected(key.attribute, key.level)
        subject = f"C-FIND {_NAMES[key.root]} {key.level.value}"
        for kind in sorted(key.matching, key=lambda one: one.value):
            trouble = ""
            for text, wanted in _PROBES[kind](key, values):
                trouble = trouble or _trouble(scu, models[key.root], key, text, wanted, values)
            yield proof(subject, f"{key.name}: {kind.value} matching", trouble)


def _trouble(scu: Scu, context: Context, key: Key, text: str, wanted: frozenset[str], values: _Values) -> str:
    """What is wrong with the answers; "" where they are right."""
    if not wanted:
        return f"{text!r}: the samples do not have it"
    asked = Dataset()
    asked.QueryRetrieveLevel = key.level.value
    samples.put(asked, BY_NAME[UNIQUE_KEYS[key.level]], "")  # told only where it is asked for
    samples.put(asked, key.attribute, text)
    answers = scu.ask(requests.find(context[0], encoded(asked, context[1])), context)
    if answers.code != 0x0000:
        return f"{text!r} is answered with {answers.code:04X}"
    if set(answers.codes[:-1]) - {0xFF00} and key.attribute.vr != "SQ":
        return "is told to be not supported (FF01)"
    return _wrong_matches(answers, key, text, wanted, values)


def _wrong_matches(answers: Answers, key: Key, text: str, wanted: frozenset[str], values: _Values) -> str:
    unique = BY_NAME[UNIQUE_KEYS[key.level]].tag
    found = {_text(match, unique): match for match in answers.matches}
    if frozenset(found) != wanted or len(found) != len(answers.matches):
        return f"{text!r} finds {len(answers.matches)} entities instead of {len(wanted)}"
    if key.attribute.vr == "SQ":
        told = all(key.attribute.tag in match for match in answers.matches)
        return "" if told else "is not told"
    wrong = [one for one, match in found.items() if set(_text(match, key.attribute.tag).split("\\")) != values[one]]
    return f"{text!r}: of {len(wrong)} entities another value is told" if wrong else ""


def _text(match: Dataset, tag: int) -> str:
    """The values as text, separated by backslashes; "" where there are none."""
    if tag not in match:
        return ""
    value = match[tag].value
    if isinstance(value, MultiValue):
        return "\\".join(map(str, value))
    return "" if value is None else str(value)


def _one(values: _Values) -> str:
    """A value of an entity in the middle."""
    every = sorted(set().union(*values.values()))
    return every[len(every) // 2]


def _single(key: Key, values: _Values) -> Iterator[_Probe]:
    text = _one(values)
    yield text, _having(values, lambda value: value == text)


def _several(key: Key, values: _Values) -> Iterator[_Probe]:
    text, other = _one(values), min(set().union(*values.values()))
    yield f"{text}\\{other}", _having(values, lambda value: value in (text, other))


def _universal(key: Key, values: _Values) -> Iterator[_Probe]:
    yield "", frozenset(values)


def _wildcard(key: Key, values: _Values) -> Iterator[_Probe]:
    text = _one(values)
    for pattern in (f"{text[:-1]}*", f"*{text[1:]}", f"{text[:-1]}?", f"{text[:1]}*{text[2:]}"):
        yield pattern, frozenset(one for one, own in values.items() if samples.matches(pattern, own))


def _range(key: Key, values: _Values) -> Iterator[_Probe]:
    text = _one(values)
    yield f"{text}-{text}", _having(values, lambda value: value == text)
    yield f"{text}-", _having(values, lambda value: value >= text)
    yield f"-{text}", _having(values, lambda value: value <= text)


def _having(values: _Values, test: Callable[[str], bool]) -> frozenset[str]:
    return frozenset(one for one, own in values.items() if any(map(test, own)))


_PROBES: Mapping[Matching, Callable[[Key, _Values], Iterator[_Probe]]] = {
    Matching.SINGLE: _single,
    Matching.UIDS: _several,
    Matching.ANY_OF: _several,
    Matching.UNIVERSAL: _universal,
    Matching.WILDCARD: _wildcard,
    Matching.RANGE: _range,
    Matching.SEQUENCE: _single,
}
