"""Specific Character Set: what was sent is what is read, and what is answered can be read."""

from __future__ import annotations

import re
import shutil
import struct
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.valuerep import PN_DELIMS

from pacsnode.dicom import charset
from tests.system import dcmtk

REAL_FILES = Path(__file__).parents[2].parent / "shared/dicom/pydicom-bundled/charset_files"

LATIN_1 = "Äneas^Rüdiger"
HANGUL = "Hong^Gildong=洪^吉洞=홍^길동"
KANJI = "Yamada^Tarou=山田^太郎=やまだ^たろう"
SAMPLES = [
    ("ISO_IR 100", LATIN_1),
    ("ISO_IR 101", "Wałęsa^Łukasz"),
    ("ISO_IR 109", "Ħaż-Żabbar^Ġorġ"),
    ("ISO_IR 110", "Bērziņš^Jānis"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 126", "Διονυσιος"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 148", "Çavuşoğlu^İbrahim"),
    ("ISO_IR 203", "Lœuvre^Žižek €"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ("ISO_IR 166", "นามสกุล^ชื่อ"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("GBK", "Wang^XiaoDong=王^小东"),
    ("\\ISO 2022 IR 87", KANJI),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("\\ISO 2022 IR 149", HANGUL),
    ("\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东"),
    ("\\ISO 2022 IR 87\\ISO 2022 IR 159", "齩^丂=山田"),
    ("ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144", "Äneas^Люк"),
    ("ISO 2022 IR 100\\ISO 2022 IR 126", "Äé^Διον=Ä"),
]
# pydicom knows neither ISO_IR 203 nor how to take the escape sequences of ISO 2022 IR 58 off.
KNOWN_TO_PYDICOM = [(terms, text) for terms, text in SAMPLES if not terms.endswith((" 203", " 58"))]
# DCMTK 3.6.7 does not know ISO_IR 203, and not the Japanese sets where it converts by glibc.
KNOWN_TO_DCMTK = [pair for pair in SAMPLES if not any(number in pair[0] for number in (" 203", " 87", " 159"))]
EVERY_TERM = [terms for terms, _ in SAMPLES]
ESCAPES = [
    b"\x1b$B",
    b"\x1b$@",
    b"\x1b$(D",
    b"\x1b(B",
    b"\x1b(J",
    b"\x1b)I",
    b"\x1b$)A",
    b"\x1b$)C",
    b"\x1b-F",
    b"\x1b",
]


@pytest.mark.parametrize(("terms", "text"), SAMPLES)
@pytest.mark.parametrize("vr", ["PN", "LO", "SH", "LT"])
def test_every_defined_term_round_trips(terms: str, text: str, vr: str) -> None:
    """A name in the set's own script is written in that set and read back unchanged, whatever the VR."""
    raw, used = charset.encode(text, terms)

    assert terms == used
    assert unicodedata.normalize("NFC", text) == charset.decode(raw, used, vr)


@pytest.mark.parametrize(("terms", "text"), KNOWN_TO_PYDICOM)
def test_others_read_what_we_write(terms: str, text: str) -> None:
    """pydicom decodes our bytes to the same text: we speak the standard, not a dialect."""
    raw, used = charset.encode(text, terms)
    encodings = convert_encodings(used.split("\\"))

    groups = [decode_bytes(group, encodings, PN_DELIMS) for group in raw.split(b"=")]

    assert text == "=".join(groups)


@pytest.mark.parametrize(("terms", "text"), KNOWN_TO_PYDICOM)
def test_we_read_what_others_write(terms: str, text: str) -> None:
    """A name encoded by pydicom, component by component, is read as it was meant."""
    encodings = convert_encodings(terms.split("\\"))
    groups = [b"^".join(encode_string(part, encodings) for part in group.split("^")) for group in text.split("=")]

    assert text == charset.decode(b"=".join(groups), terms, "PN")


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="DCMTK is not here")
@pytest.mark.parametrize(("terms", "text"), KNOWN_TO_DCMTK)
def test_dcmtk_reads_what_we_write(terms: str, text: str, tmp_path: Path) -> None:
    """DCMTK converts our bytes to the same UTF-8, as a name and as a text."""
    description = text.translate(str.maketrans("^=", "  "))
    raw, used = charset.encode(text, terms)
    elements = (
        (0x00080005, b"CS", used.encode()),
        (0x00081030, b"LO", charset.encode(description, terms)[0]),
        (0x00100010, b"PN", raw),
    )
    path = tmp_path / "data_set"
    path.write_bytes(
        b"".join(
            struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value) + len(value) % 2)
            + value
            + b" " * (len(value) % 2)
            for tag, vr, value in elements
        )
    )

    told = dcmtk.run("dcmdump", "-f", "-te", "+U8", "+L", str(path))

    assert [f"LO [{description}]", f"PN [{text}]"] == re.findall(r"(?:LO|PN) \[.*\]", told)


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the shared sample files are not here")
@pytest.mark.filterwarnings("ignore")
def test_real_files_read_like_pydicom() -> None:
    """Names and descriptions of real files in many languages come out as in pydicom."""
    compared = 0
    for path in sorted(REAL_FILES.glob("*.dcm")):
        dataset = dcmread(path, force=True)
        terms = dataset.get("SpecificCharacterSet", "")
        terms = terms if isinstance(terms, str) else "\\".join(terms)
        for name in ("PatientName", "PatientComments", "StudyDescription", "RequestedProcedureDescription"):
            raw = dataset.get_item(name) if name in dataset else None
            if raw is None or not isinstance(raw.value, bytes):
                continue
            found = charset.decode(raw.value, terms, raw.VR)
            compared += 1

            assert unicodedata.normalize("NFC", str(dataset[name].value)).rstrip(" =") == found.rstrip(" =")

    assert compared > 10


@pytest.mark.parametrize(
    "terms",
    ["ISO-IR 100", "ISO_IR_100", "ISO 2022 IR 100", "ISO IR 100", "iso_ir 100 ", "ISO_IR100", "ISO8859-1", "latin1"],
)
def test_misspelt_terms_are_understood(terms: str) -> None:
    """The spellings that real devices send mean what they were meant to mean."""
    assert LATIN_1 == charset.decode(LATIN_1.encode("latin-1"), terms, "PN")


@pytest.mark.parametrize(
    ("terms", "correct", "text"),
    [
        ("ISO-IR 144", "ISO_IR 144", "Люк"),
        ("UTF-8", "ISO_IR 192", "Люк"),
        ("ISO 2022 IR 87", "\\ISO 2022 IR 87", "山"),
        ("\\ISO_IR 87\\nonsense", "\\ISO 2022 IR 87", "山"),
        ("ISO 2022 IR 149", "\\ISO 2022 IR 149", "홍"),
        ("ISO_IR 192\\ISO 2022 IR 87", "ISO_IR 192", "山"),
        ("\\ISO_IR 192", "ISO_IR 192", "山"),
        ("ISO 2022 IR 6\\ISO 2022 GBK", "GBK", "张"),
        ("ISO_IR 100\\ISO_IR 192", "ISO_IR 100", "é"),
    ],
)
def test_answers_spell_terms_correctly(terms: str, correct: str, text: str) -> None:
    """A misspelt request is answered in its set, under the defined term."""
    raw, used = charset.encode(text, terms)

    assert (correct, text) == (used, charset.decode(raw, used, "LO"))
    assert (b"\x1b" in raw) == ("2022" in correct)


@pytest.mark.parametrize("terms", ["", "ISO_IR 6", "ISO 2022 IR 6", "ISO-IR 6", "no such set", "\\", "ISO_IR 999"])
def test_undeclared_text_is_utf8_or_latin1(terms: str) -> None:
    """Without a usable declaration UTF-8 is recognised, and everything else is Latin-1."""
    assert "山田" == charset.decode("山田".encode(), terms, "LO")
    assert LATIN_1 == charset.decode(LATIN_1.encode("latin-1"), terms, "LO")


@pytest.mark.parametrize("terms", ["", "\\", "ISO_IR 6", "ISO 2022 IR 6", "no such set", "ISO_IR 999"])
def test_an_assumption_fills_in(terms: str) -> None:
    """What is assumed of a peer holds where it declares nothing that goes beyond ASCII."""
    assert "ISO_IR 144" == charset.declared(terms, "ISO_IR 144")


@pytest.mark.parametrize("terms", ["ISO_IR 100", "iso-ir 100", "UTF-8", "GBK", "\\ISO 2022 IR 87", "x\\ISO 2022 IR 58"])
def test_an_assumption_overrules_nothing(terms: str) -> None:
    """A declaration stands, however it is spelt."""
    assert terms == charset.declared(terms, "ISO_IR 144")


@pytest.mark.parametrize(
    ("raw", "terms", "text"),
    [
        (b"\x1b$B|b66\x1b(B^\x1b$B-!\x1b(B", "\\ISO 2022 IR 87", "髙橋^①"),
        ("똠길".encode("cp949"), "\\ISO 2022 IR 149", "똠길"),
        (b"\x1b$)C" + "뷁".encode("cp949"), "\\ISO 2022 IR 149", "뷁"),
        (b"\x1b$)A" + "镕".encode("gbk"), "\\ISO 2022 IR 58", "镕"),
    ],
)
def test_characters_beyond_the_set(raw: bytes, terms: str, text: str) -> None:
    """Names whose characters only the makers' supersets have are read; answers with them are UTF-8."""
    assert text == charset.decode(raw, terms, "PN")
    assert (text.encode(), "ISO_IR 192") == charset.encode(text, terms)


@pytest.mark.parametrize(
    ("raw", "terms", "text"),
    [
        (b"A\xffB", "ISO_IR 192", "A\ufffdB"),
        (b"A\xffB", "ISO_IR 127", "A\ufffdB"),
        (b"\x1b$B~~\x1b(BA", "\\ISO 2022 IR 87", "\ufffd\ufffdA"),
        (b"\x1b$B;3E", "\\ISO 2022 IR 87", "山\ufffd"),
    ],
)
def test_undefined_bytes_are_seen(raw: bytes, terms: str, text: str) -> None:
    """What the declared set does not define is U+FFFD, and nothing around it is lost."""
    assert text == charset.decode(raw, terms, "LO")


def test_undeclared_high_bytes_belong_to_the_extension() -> None:
    """Korean text whose escape sequences were left out is still Korean."""
    assert "홍^길동" == charset.decode("홍^길동".encode("euc_kr"), "\\ISO 2022 IR 149", "PN")


def test_undeclared_escape_sequences_are_obeyed() -> None:
    """Kanji announced by its escape sequence is read although the declaration forgot it."""
    assert "山田^A" == charset.decode(b"\x1b$B;3ED\x1b(B^A", "", "PN")


def test_shift_jis_under_the_katakana_term() -> None:
    """Shift JIS, often sent as ISO_IR 13, is read as such: its second bytes are neither backslash nor caret."""
    assert "能登\\ｱ" == charset.decode("能登\\ｱ".encode("shift_jis"), "ISO_IR 13", "LO")


def test_backslash_bytes_inside_of_characters_do_not_separate() -> None:
    """In GB18030 and in two-byte G0 sets 5CH may be half of a character."""
    in_gb = "\\".join(["橽", "誠"])
    raw, used = charset.encode("".join(["橽", "誠"]), "GB18030")

    assert b"\\" in raw
    assert "橽誠" == charset.decode(raw, used, "LO")
    assert in_gb == charset.decode(in_gb.encode("gb18030"), "GB18030", "LO")


def test_delimiters_bring_back_the_first_set() -> None:
    """After a caret in PN the set of value 1 is in force again, in LO it is not (PS3.5 6.1.2.5.3)."""
    raw = b"\x1b-F\xc4^\xc4"

    assert "Δ^Ä" == charset.decode(raw, "ISO 2022 IR 100\\ISO 2022 IR 126", "PN")
    assert "Δ^Δ" == charset.decode(raw, "ISO 2022 IR 100\\ISO 2022 IR 126", "LO")


def test_forgotten_way_back_from_kanji() -> None:
    """A delimiter or a space among two-byte characters ends them, although the escape sequence is missing."""
    assert "山 \tA" == charset.decode(b"\x1b$B;3 \tA", "\\ISO 2022 IR 87", "PN")


@pytest.mark.parametrize("vr", ["AE", "CS", "UI", "DA", "IS", "UN", ""])
def test_other_vrs_ignore_the_character_set(vr: str) -> None:
    """Specific Character Set governs text only; elsewhere a stray high byte is Latin-1."""
    assert "\xc4" == charset.decode(b"\xc4", "ISO_IR 126", vr)


def test_ascii_needs_no_character_set() -> None:
    """A text that is all ASCII is answered without Specific Character Set."""
    assert (b"DOE^JOHN", "") == charset.encode("DOE^JOHN", "ISO_IR 100")


@pytest.mark.parametrize("terms", ["", "ISO_IR 100", "\\ISO 2022 IR 87", "GBK", "nonsense"])
def test_what_the_requested_set_lacks_is_utf8(terms: str) -> None:
    """Nothing is lost: where the requested set lacks a character the answer is UTF-8."""
    text = "Ä山Люкก"

    assert (text.encode(), "ISO_IR 192") == charset.encode(text, terms)


def test_decomposed_text_is_composed() -> None:
    """Combining marks are joined with their letter, so that equal names are equal."""
    assert LATIN_1 == charset.decode(unicodedata.normalize("NFD", LATIN_1).encode(), "ISO_IR 192", "PN")
    assert (LATIN_1.encode("latin-1"), "ISO_IR 100") == charset.encode(
        unicodedata.normalize("NFD", LATIN_1), "ISO_IR 100"
    )


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from(ESCAPES) | st.binary(max_size=4), max_size=12).map(b"".join),
    st.sampled_from([*EVERY_TERM, "", "x"]) | st.text(max_size=20),
    st.sampled_from(["PN", "LO", "LT", "CS"]),
)
def test_decoding_never_fails(raw: bytes, terms: str, vr: str) -> None:
    """Any bytes give some text in NFC, whatever the declaration."""
    text = charset.decode(raw, terms, vr)

    assert unicodedata.normalize("NFC", text) == text or vr == "CS"


@given(
    st.binary(max_size=12).map(lambda raw: b"\x1b$B" + raw) | st.binary(max_size=12).map(lambda raw: b"\x1b$)C" + raw),
    st.sampled_from(EVERY_TERM),
)
def test_broken_extensions_never_fail(raw: bytes, terms: str) -> None:
    """Garbage behind an escape sequence gives some text."""
    assert isinstance(charset.decode(raw, terms, "PN"), str)


@given(
    st.text(st.sampled_from("A ^=é山やﾔ홍Δя齩ก\r\n張"), min_size=1, max_size=16),
    st.sampled_from([terms for terms, _ in KNOWN_TO_PYDICOM] + ["ISO 2022 IR 144\\ISO 2022 IR 87\\ISO 2022 IR 149"]),
)
@example("Δﾔ", "ISO 2022 IR 13\\ISO 2022 IR 87")
@example("山яAя", "ISO 2022 IR 144\\ISO 2022 IR 87")
def test_any_mixture_is_read_by_pydicom(text: str, terms: str) -> None:
    """Mixed scripts and delimiters that we write with code extensions, pydicom reads as they were."""
    raw, used = charset.encode(text, terms)
    encodings = convert_encodings(used.split("\\"))

    assert text == "=".join(decode_bytes(group, encodings, PN_DELIMS) for group in raw.split(b"="))


@given(
    st.text(st.sampled_from("A ^=\\é山やﾔ홍Δя齩ก\r\n張"), max_size=16),
    st.sampled_from([*EVERY_TERM, ""]),
    st.sampled_from(["PN", "LO", "LT"]),
)
def test_any_mixture_round_trips(text: str, terms: str, vr: str) -> None:
    """Mixed scripts and delimiters come back unchanged in every VR, in the requested set or in UTF-8."""
    raw, used = charset.encode(text, terms)

    assert text == charset.decode(raw, used, vr)


@given(st.text(max_size=12), st.sampled_from(EVERY_TERM))
def test_any_text_round_trips(text: str, terms: str) -> None:
    """Arbitrary text comes back, NFC-normalised."""
    raw, used = charset.encode(text, terms)

    assert unicodedata.normalize("NFC", text) == charset.decode(raw, used, "LO")


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("DOE^JOHN", "doe^john"),
        ("Buc^Jérôme", "buc^jerome"),
        ("Äneas^Rüdiger", "aneas^rudiger"),
        ("STRAẞE", "strasse"),
        ("İbrahim", "ibrahim"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ"),
        ("ＹＡＭＡＤＡ", "yamada"),
        ("Ｄoe*^J?=山田", "doe*^j?=山田"),
        ("やまだ^たろう", "ヤマダ^タロウ"),
        ("Sørensen^Łukasz^Đặng^Œ", "sorensen^lukasz^dang^oe"),
        ("Ελένη^ΆΡΗΣ", "ελενη^αρησ"),
        ("Семён", "семен"),
        ("أَحْمَد", "احمد"),
        ("שָׁלוֹם", "שלום"),
        ("홍^길동", "홍^길동"),
        ("ชื่อ", "ชื่อ"),
    ],
)
def test_folding(name: str, folded: str) -> None:
    """Case, accents and width do not matter; letters and wildcards stay."""
    assert folded == charset.fold(name)


@given(st.text(max_size=12))
def test_folding_twice_changes_nothing(text: str) -> None:
    """What is folded stays as it is: stored and asked forms can be folded on their own."""
    assert charset.fold(text) == charset.fold(charset.fold(text))


def test_endless_combining_marks_take_no_time() -> None:
    """A value made to keep the normalisation busy is read and folded at once, as it is."""
    hostile = "a" + "\u0301\u0323" * 500_000

    assert hostile == charset.decode(hostile.encode(), "ISO_IR 192", "LO")
    assert "a" == charset.fold(hostile)[0]


def test_the_hangul_filler_is_utf8() -> None:
    """The Korean set's filler would swallow what follows it: it is not written in that set."""
    assert ("\u3164".encode(), "ISO_IR 192") == charset.encode("\u3164", "\\ISO 2022 IR 149")


def test_escape_characters_in_text_are_utf8() -> None:
    """A raw escape character cannot be told from a code extension: it is written where there are none."""
    for text in ("A\x1b$B;3", "山\x1b(B"):
        raw, used = charset.encode(text, "\\ISO 2022 IR 87")

        assert (text, "ISO_IR 192") == (charset.decode(raw, used, "LO"), used)


def test_supplementary_kanji_have_their_own_set() -> None:
    """JIS X 0212 is switched to by its own escape sequence, and read as what it is."""
    raw, used = charset.encode("丂山", "\\ISO 2022 IR 87\\ISO 2022 IR 159")

    assert b"\x1b$(D0!\x1b$B;3\x1b(B" == raw
    assert "丂山" == charset.decode(raw, used, "PN")
