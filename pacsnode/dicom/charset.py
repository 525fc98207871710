"""Specific Character Set (PS3.3 C.12.1.1.2): bytes to text and back, and the form in which names are compared.

Reading forgives: misspelt terms, undeclared sets and broken bytes give the best text there is, never an error.
Writing does not: the requested set is used where it loses nothing, else UTF-8.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pacsnode.dicom import iso2022
from pacsnode.dicom.iso2022 import SETS, CodedSet

UTF_8 = "ISO_IR 192"
TEXT_VRS = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})
"""The VRs that Specific Character Set governs (PS3.5 6.1.2.2)."""

# Sets without code extensions: value 1 is the only value (PS3.3 Table C.12-5).
_ALONE: Mapping[str, tuple[str, str]] = MappingProxyType({
    "192": (UTF_8, "utf-8"),
    "GB18030": ("GB18030", "gb18030"),
    "GBK": ("GBK", "gbk"),
})  # fmt: skip
_ISO_TERM = re.compile(r"ISO[ _-]*(?:2022)?[ _-]*(?:IR)?[ _-]*(\d+)\Z")
_ISO_8859 = re.compile(r"(?:ISO[ _-]*8859[ _-]*|LATIN[ _-]*)(\d+)\Z")
_NUMBER_BY_PART: Mapping[str, str] = MappingProxyType({
    "1": "100", "2": "101", "3": "109", "4": "110", "5": "144", "6": "127", "7": "126", "8": "138", "9": "148",
    "11": "166", "15": "203",
})  # fmt: skip
_TELLING = frozenset({*_ALONE, *SETS})
_KNOWN = _TELLING | {"6"}
_MAX_TERMS = 32  # there are fewer sets to switch between
_MAX_TERM_LENGTH = 24  # with all its spaces; a CS has 16 characters at most
_MAX_NORMALIZED = 8192  # characters: Unicode's ordering of combining marks takes quadratic time
# Marks that are left out as often as they are written: accents, Hebrew points, Arabic vowels, hamza and tatweel.
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670]+")
# Letters whose stroke, dot or ligature Unicode does not take apart; and hiragana, the other script of phonetic names.
_PLAIN = str.maketrans(
    dict(zip("øłđħŧðıœæþ", ("o", "l", "d", "h", "t", "d", "i", "oe", "ae", "th"), strict=True))
    | {chr(code): chr(code + 0x60) for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
)


def decode(value: bytes, terms: str, vr: str) -> str:
    """The text of a value, NFC-normalised up to 8,192 characters, with the backslashes between values. Never raises.

    ``terms`` is the raw Specific Character Set, values separated by backslashes. Where it says nothing ("", ISO_IR 6,
    nonsense), what is not ASCII is read as UTF-8 if it is valid, else as Latin-1. Bytes that the declared set does not
    define become U+FFFD. VRs outside of ``TEXT_VRS`` are ASCII, or else Latin-1. Padding is left as it is.
    """
    if value.isascii() and iso2022.ESCAPE not in value:
        return value.decode("ascii")
    if vr not in TEXT_VRS:
        return value.decode("latin-1")
    declared = _Declared.of(terms)
    return _normalized("NFC", declared.decode(value, vr))


def declared(terms: str, assumed: str) -> str:
    """``terms`` where they name a set that goes beyond ASCII, else ``assumed``."""
    return terms if any(_number(term) in _TELLING for term in terms.split("\\")[:_MAX_TERMS]) else assumed


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the text of peers is read in where they declare no set, by AE title, and of everybody else."""

    by_ae_title: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""

    def of(self, calling_ae: str) -> str:
        """The Specific Character Set assumed of this AE title."""
        return self.by_ae_title.get(calling_ae, self.otherwise)


def encode(text: str, terms: str) -> tuple[bytes, str]:
    """The bytes of a text, without padding, and the Specific Character Set that tells how to read them.

    "" where it is all ASCII; ``terms`` in their correct spelling where they can say it all; else ISO_IR 192.
    Texts that are not NFC-normalised come back so.
    """
    if text.isascii() and "\x1b" not in text:
        return text.encode("ascii"), ""
    text = _normalized("NFC", text)
    declared = _Declared.of(terms)
    raw = declared.encode(text)
    if raw is None:
        return text.encode("utf-8", "replace"), UTF_8
    return raw, declared.term


def fold(text: str) -> str:
    """The form in which person names are compared: no case, no accents, one width, one kana. ``^ = * ?`` stay.

    Japanese voicing marks and the vowel signs of Thai are letters here, not accents.
    """
    if text.isascii():
        return text.lower()
    plain = _ACCENTS.sub("", _normalized("NFKD", text))
    folded = _normalized("NFKD", plain.casefold().translate(_PLAIN))
    return _normalized("NFKC", _ACCENTS.sub("", folded))


def _normalized(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    return unicodedata.normalize(form, text) if len(text) <= _MAX_NORMALIZED else text


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a Specific Character Set says, once its spelling is understood."""

    term: str  # as it should have been spelt
    codec: str = ""  # of a set that stands alone
    sets: tuple[CodedSet, ...] = ()
    initial: CodedSet | None = None  # in G1 from the beginning

    @classmethod
    def of(cls, terms: str) -> _Declared:
        spelt = terms.split("\\")[:_MAX_TERMS]
        numbers = [number if (number := _number(term)) in _KNOWN else "" for term in spelt]
        alone = next((number for number in numbers if number in _ALONE), "")
        if alone and numbers[0] in (alone, "", "6"):  # as an extension of ASCII it can only mean itself
            return cls(*_ALONE[alone])
        numbers = [number for number in numbers if number not in _ALONE]
        sets = tuple(SETS[number] for number in dict.fromkeys(numbers) if number in SETS)
        first = SETS.get(numbers[0])
        if len(numbers) == 1 and first is not None and not first.is_double:
            return cls(f"ISO_IR {first.number}", sets=sets, initial=first)
        if first is not None and first.is_double:
            numbers.insert(0, "")  # only a single-byte set may be value 1; what was meant is plain
            first = None
        correct = [f"ISO 2022 IR {number}" if number else "" for number in numbers]
        return cls("\\".join([correct[0], *filter(None, correct[1:])]), sets=sets, initial=first)

    def decode(self, value: bytes, vr: str) -> str:
        if self.codec:
            return value.decode(self.codec, "replace")
        is_extended = iso2022.ESCAPE in value
        spare = next((one for one in self.sets if not one.is_left), None)
        if not is_extended and spare is None:
            return _decode_undeclared(value)
        return iso2022.decode(value, vr, initial=self.initial, spare=spare)

    def encode(self, text: str) -> bytes | None:
        if not self.codec:
            return iso2022.encode(text, self.sets, initial=self.initial)
        try:
            return text.encode(self.codec)
        except UnicodeEncodeError:
            return None


def _number(term: str) -> str:
    """What distinguishes a defined term, however it is spelt; "" for the default repertoire and for nonsense."""
    term = term.strip(" \0")[:_MAX_TERM_LENGTH].upper()
    if match := _ISO_TERM.match(term):
        return match[1]
    if match := _ISO_8859.match(term):
        return _NUMBER_BY_PART.get(match[1], "")
    if term.replace("-", "").replace("_", "") == "UTF8":
        return "192"
    return next((name for name in ("GB18030", "GBK") if name in term), "")


def _decode_undeclared(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def defined_terms() -> list[str]:
    """The defined terms of Specific Character Set that are read and written (PS3.3 C.12.1.1.2)."""
    single = [number for number, one in SETS.items() if not one.is_double]
    plain = [f"ISO_IR {number}" for number in ("6", *single)]
    extended = [f"ISO 2022 IR {number}" for number in ("6", *SETS)]
    return [*plain, *extended, *(term for term, _ in _ALONE.values())]
