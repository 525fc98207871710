"""Code extensions of PS3.5 6.1.2.5: text in which escape sequences switch between coded character sets.

A value has two halves in force at any moment: G0 for the bytes below 80H, G1 for those above. Escape sequences put
another set into one of them; delimiters put back what the first value of Specific Character Set says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

ESCAPE = b"\x1b"
_LATIN_1 = "latin_1"


@dataclass(frozen=True, slots=True)
class CodedSet:
    """One coded character set of PS3.3 Tables C.12-3 and C.12-4, in terms of a codec that contains it."""

    number: str  # of the ISO registry, as in the defined term
    codec: str
    escape: bytes  # designates it to the half it belongs to
    is_double: bool = False  # two bytes to a character
    is_left: bool = False  # belongs to G0, where the high bits are cleared
    lead: bytes = b""  # what the codec expects before each character
    lowest: int = 0xA0  # byte of a character, in the codec
    vendor: str = ""  # codec of a superset, under which makers send more than the set has

    def decode(self, raw: bytes) -> str:
        """The text of a run of this set; what neither it nor its makers' superset defines becomes U+FFFD."""
        if not self.is_left:
            return raw.decode(self.vendor or self.codec, "replace")
        codes = [bytes(byte | 0x80 for byte in raw[i : i + 2]) for i in range(0, len(raw), 2)]
        try:
            return b"".join([self.lead + code for code in codes]).decode(self.codec)
        except UnicodeDecodeError:
            return "".join(map(self._one, codes))

    def _one(self, code: bytes) -> str:
        try:
            return (self.lead + code).decode(self.codec)
        except UnicodeDecodeError:
            return _shifted(code).decode(self.vendor, "replace") if self.vendor and len(code) == 2 else "\ufffd"

    def encode(self, character: str) -> bytes | None:
        """The bytes of one character that is not ASCII; None where this set has no such character."""
        try:
            raw = character.encode(self.codec)
        except UnicodeEncodeError:
            return None
        code = raw.removeprefix(self.lead)
        # The codecs know more than the set: ASCII look-alikes, C1 controls, single shifts to other sets.
        width = 2 if self.is_double else 1
        if len(code) != width or len(raw) != width + len(self.lead) or min(code) < self.lowest:
            return None
        if self.is_double and raw.decode(self.codec, "replace") != character:
            return None  # the Hangul filler announces a syllable of several characters
        if self.vendor and not self.is_left and raw.decode(self.vendor, "replace") != character:
            return None  # there are two opinions about the middle dot and the dash of GB 2312
        return bytes(byte & 0x7F for byte in code) if self.is_left else code


def _shifted(code: bytes) -> bytes:
    """A character of a 94 x 94 set, high bits set, in the arithmetic of Shift JIS."""
    row, cell = code[0] & 0x7F, code[1] & 0x7F
    first = ((row - 1) >> 1) + (0x71 if row <= 0x5E else 0xB1)
    second = cell + (0x7E if row % 2 == 0 else 0x1F if cell < 0x60 else 0x20)
    return bytes((first, second))


def _sets() -> Mapping[str, CodedSet]:
    sets = (
        CodedSet("13", "cp932", b"\x1b)I", lowest=0xA1),  # of Shift JIS, which is often meant and takes nothing away
        CodedSet("58", "gb2312", b"\x1b$)A", is_double=True, vendor="gbk"),
        CodedSet("87", "euc_jp", b"\x1b$B", is_double=True, is_left=True, vendor="cp932"),
        CodedSet("100", _LATIN_1, b"\x1b-A"),
        CodedSet("101", "iso8859_2", b"\x1b-B"),
        CodedSet("109", "iso8859_3", b"\x1b-C"),
        CodedSet("110", "iso8859_4", b"\x1b-D"),
        CodedSet("126", "iso8859_7", b"\x1b-F"),
        CodedSet("127", "iso8859_6", b"\x1b-G"),
        CodedSet("138", "iso8859_8", b"\x1b-H"),
        CodedSet("144", "iso8859_5", b"\x1b-L"),
        CodedSet("148", "iso8859_9", b"\x1b-M"),
        CodedSet("149", "euc_kr", b"\x1b$)C", is_double=True, vendor="cp949"),
        CodedSet("159", "euc_jp", b"\x1b$(D", is_double=True, is_left=True, lead=b"\x8f"),
        CodedSet("166", "iso8859_11", b"\x1b-T"),
        CodedSet("203", "iso8859_15", b"\x1b-b"),
    )
    return MappingProxyType({one.number: one for one in sets})


SETS: Mapping[str, CodedSet] = _sets()
"""The sets that code extensions can switch to, by number. ASCII (6) is not among them: it is what G0 begins with."""
_BY_ESCAPE: Mapping[bytes, CodedSet] = MappingProxyType(
    {one.escape: one for one in SETS.values()}
    # The edition of 1978, still sent by old Japanese equipment.
    | {b"\x1b$@": SETS["87"], b"\x1b$(B": SETS["87"]}
)
# ISO-IR 14 (ESC ( J) is read as ASCII: it differs in the yen sign, which separates values all the same, and the tilde.
_ESCAPES = re.compile(rb"(\x1b(?:\$\([BD]|\$\)[AC]|\$[@B]|\([BJ]|\)I|-[ABCDFGHLMTb]))")
_RIGHT_RUNS = re.compile(rb"([\x80-\xff]+)")

# Where the sets of the beginning come back into force (PS3.5 6.1.2.5.3).
_AFTER_CONTROL = re.compile(rb"[\t\n\f\r]")
_AFTER_DELIMITER: Mapping[str, re.Pattern[bytes]] = MappingProxyType({
    "PN": re.compile(rb"[\t\n\f\r\\^=]"),
    "LO": re.compile(rb"[\t\n\f\r\\]"),
    "SH": re.compile(rb"[\t\n\f\r\\]"),
    "UC": re.compile(rb"[\t\n\f\r\\]"),
})  # fmt: skip
# Among two-byte characters every printable byte is half of one; anything else means that the way back was forgotten.
_AFTER_DOUBLE = re.compile(rb"[\x00-\x20\x7f]")
_DELIMITERS = frozenset("\\^=\t\n\f\r")


def decode(value: bytes, vr: str, *, initial: CodedSet | None, spare: CodedSet | None) -> str:
    """The text of a value with code extensions. Never raises; what no set defines becomes U+FFFD.

    ``initial`` is in G1 at the beginning and after delimiters. ``spare`` is assumed for high bytes where G1 is empty.
    Known escape sequences are obeyed whether they were declared or not; unknown ones stay in the text.
    """
    delimiter = _AFTER_DELIMITER.get(vr, _AFTER_CONTROL)
    left: CodedSet | None = None
    right = initial
    text = []
    for index, piece in enumerate(_ESCAPES.split(value)):
        if index % 2:
            designated = _BY_ESCAPE.get(piece)
            if designated is None or designated.is_left:
                left = designated
            else:
                right = designated
        elif (left is not None or right is not initial) and (
            end := (delimiter if left is None else _AFTER_DOUBLE).search(piece)
        ):
            text.append(_decode_run(piece[: end.start()], left, right or spare))
            text.append(_decode_run(piece[end.start() :], None, initial or spare))
            left, right = None, initial
        else:
            text.append(_decode_run(piece, left, right or spare))
    return "".join(text)


def _decode_run(raw: bytes, left: CodedSet | None, right: CodedSet | None) -> str:
    right_codec = (right.vendor or right.codec) if right is not None else _LATIN_1
    if left is None:
        return raw.decode(right_codec, "replace")  # every codec of a G1 set has ASCII in its lower half
    runs = _RIGHT_RUNS.split(raw)
    return "".join(
        run.decode(right_codec, "replace") if index % 2 else left.decode(run) for index, run in enumerate(runs)
    )


def encode(text: str, sets: Sequence[CodedSet], *, initial: CodedSet | None) -> bytes | None:
    """The text with code extensions, readable as any VR; None where the sets lack one of its characters.

    The sets are tried in their order. Raw escape characters cannot be told from code extensions and are refused.
    """
    writer = _Writer(sets, initial)
    return writer.finish() if all(map(writer.add, text)) else None


class _Writer:
    """Keeps which sets are in force for a reader that knows the delimiters of the VR, and for one that does not."""

    def __init__(self, sets: Sequence[CodedSet], initial: CodedSet | None) -> None:
        self._raw = bytearray()
        self._sets = sets
        self._initial = self._right = initial
        self._left: CodedSet | None = None
        self._left_escape = b"\x1b(J" if initial is SETS["13"] else b"\x1b(B"
        self._is_right_sure = True

    def add(self, character: str) -> bool:
        if character == "\x1b":
            return False
        if character.isascii():
            self._add_ascii(character)
            return True
        for one in self._sets:
            code = one.encode(character)
            if code is not None:
                self._designate(one)
                self._raw += code
                return True
        return False

    def finish(self) -> bytes:
        self._leave_left()
        return bytes(self._raw)

    def _leave_left(self) -> None:
        if self._left is not None:
            self._raw += self._left_escape
            self._left = None
            self._is_right_sure = False  # readers take the escape for the end of what is in G1, too

    def _add_ascii(self, character: str) -> None:
        self._leave_left()
        self._raw += character.encode("ascii")
        if character in _DELIMITERS and self._right is not self._initial:
            self._is_right_sure = False  # a delimiter in one VR is plain text in another

    def _designate(self, one: CodedSet) -> None:
        if one.is_left:
            if self._left is not one:
                self._raw += one.escape
                self._left = one
            return
        self._leave_left()  # both halves may be in force at once, but not for every reader
        if self._right is not one or not self._is_right_sure:
            self._raw += one.escape
            self._right, self._is_right_sure = one, True
