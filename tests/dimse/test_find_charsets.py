"""C-FIND by names of many scripts: bytes as devices send them, and pydicom to read what is answered."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass

import pytest
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import PN_DELIMS

from pacsnode.dicom.charset import Assumptions
from tests.dicom.dataset_bytes import REAL_FILES, needs_real_files
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running
from tests.dimse.raw_peer import C_FIND, FAILED, STUDY_FIND, STUDY_GET, Offer, identifier, parse_elements
from tests.system import dcmtk

PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
LEVEL, CHARSET, NAME, PATIENT_ID = 0x00080052, 0x00080005, 0x00100010, 0x00100020
CAPTURE, CR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1"


def kanji(text: str) -> bytes:
    return b"\x1b$B" + bytes(byte & 0x7F for byte in text.encode("euc_jp")) + b"\x1b(B"


def hangul(text: str) -> bytes:
    return b"\x1b$)C" + text.encode("euc_kr")


def hanzi(text: str) -> bytes:
    return b"\x1b$)A" + text.encode("gb2312")


@dataclass(frozen=True)
class Script:
    """A name as it is sent in a set, and the beginning of it, or of one of its groups, by which it is asked for."""

    terms: str
    raw: bytes
    text: str
    asked: bytes
    asked_text: str


def single(terms: str, codec: str, text: str, asked: str) -> Script:
    return Script(terms, text.encode(codec), text, asked.encode(codec), asked)


SCRIPTS = {
    "Latin-1": single("ISO_IR 100", "latin-1", "Müller^Jörg", "MÜL*"),
    "Latin-2": single("ISO_IR 101", "iso8859-2", "Wałęsa^Łukasz", "wałę*"),
    "Latin-3": single("ISO_IR 109", "iso8859-3", "Ħaż-Żabbar^Ġorġ", "ħa*"),
    "Latin-4": single("ISO_IR 110", "iso8859-4", "Bērziņš^Jānis", "Bēr*"),
    "Latin-5": single("ISO_IR 148", "iso8859-9", "Çavuşoğlu^İbrahim", "*^İbrahim"),
    "Latin-9": single("ISO_IR 203", "iso8859-15", "Lœuvre^Ž", "Lœ*"),
    "Cyrillic": single("ISO_IR 144", "iso8859-5", "Люкceмбypг", "люк*"),
    "Arabic": single("ISO_IR 127", "iso8859-6", "قباني^لنزار", "قباني*"),
    "Greek": single("ISO_IR 126", "iso8859-7", "Διονυσιος^Άρης", "ΔΙΟΝ*"),
    "Hebrew": single("ISO_IR 138", "iso8859-8", "שרון^דבורה", "שרון^*"),
    "Thai": single("ISO_IR 166", "iso8859-11", "นามสกุล^ชื่อ", "นามสกุล*"),
    "Katakana": single("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ﾔﾏ*"),
    "Chinese in GB18030": single("GB18030", "gb18030", "Wang^XiaoDong=王^小东", "王^*"),
    "Chinese in GBK": single("GBK", "gbk", "Wang^XiaoDong=王^小东", "*=王^小*"),
    "Japanese": Script(
        "\\ISO 2022 IR 87",
        b"^".join((b"Yamada", b"Tarou=" + kanji("山田"), kanji("太郎") + b"=" + kanji("やまだ"), kanji("たろう"))),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        kanji("山田") + b"^*",
        "山田^*",
    ),
    "Japanese with katakana": Script(
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("shift_jis")
        + kanji("山田")
        + b"^"
        + kanji("太郎")
        + b"="
        + kanji("やまだ")
        + b"^"
        + kanji("たろう"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        b"*=*=" + kanji("やまだ") + b"*",
        "*=*=やまだ*",
    ),
    "Korean": Script(
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=" + hangul("洪") + b"^" + hangul("吉洞") + b"=" + hangul("홍") + b"^" + hangul("길동"),
        "Hong^Gildong=洪^吉洞=홍^길동",
        hangul("홍") + b"^*",
        "홍^*",
    ),
    "Chinese in ISO 2022": Script(
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=" + hanzi("张") + b"^" + hanzi("小东"),
        "Zhang^XiaoDong=张^小东",
        hanzi("张") + b"*",
        "张*",
    ),
}


def find(node: Running, terms: str, name: bytes) -> tuple[str, bytes]:
    """Character set and name of the only match."""
    keys: dict[int, str | bytes] = {LEVEL: "PATIENT", NAME: name, PATIENT_ID: ""}
    keys |= {CHARSET: terms} if terms else {}
    with node.connect(Offer(1, PATIENT_FIND)) as peer:
        peer.start_query(1, C_FIND, PATIENT_FIND, identifier(keys))
        match, final = peer.responses()
        peer.release()
    assert 0 == final.status
    elements = parse_elements(match.data_set or b"")
    return elements.get(CHARSET, b"").decode().strip(), elements[NAME].strip()


def read(terms: str, raw: bytes) -> str:
    """As pydicom reads it; of the two sets that it does not know, one by its codec and one without its escapes."""
    if terms == "ISO_IR 203":
        return raw.decode("iso8859-15")
    if terms.endswith(" 58"):
        return raw.replace(b"\x1b$)A", b"").decode("gb2312")
    encodings = convert_encodings(terms.split("\\"))
    return "=".join(decode_bytes(group, encodings, PN_DELIMS) for group in raw.split(b"="))


def keep(node: Running, script: Script, number: int = 1, charset: str | None = None) -> None:
    """A patient of this name; by default it declares the set."""
    terms = script.terms if charset is None else charset
    study, patient_id = f"2.25.{number}", f"P{number}".encode()
    padded = terms.encode() + b" " * (len(terms) % 2)
    node.keep(number, name=script.raw, charset=padded, patient_id=patient_id, study=study, series=f"{study}.1")


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_asked_in_its_own_set(node: Running, script: Script) -> None:
    """A name is found by its beginning in its own set, and told in that set as pydicom reads it."""
    keep(node, script)

    terms, raw = find(node, script.terms, script.asked)

    assert (script.terms, script.text) == (terms, read(terms, raw))


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_asked_in_utf8(node: Running, script: Script) -> None:
    """The same name is found and told in UTF-8, whatever it is stored in."""
    keep(node, script)

    assert ("ISO_IR 192", script.text.encode()) == find(node, "ISO_IR 192", script.asked_text.encode())


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_nothing_declared(nodes: Nodes, script: Script) -> None:
    """What a peer is assumed to speak is stored and asked for rightly without a word of it, and answered in it."""
    assumed = Assumptions({"MODALITY": script.terms, "TESTER": script.terms}, "ISO_IR 126")
    node = nodes.start(assumed=assumed)
    keep(node, script, charset="")

    terms, raw = find(node, "", script.asked)

    assert (script.terms, script.text) == (terms, read(terms, raw))


@pytest.mark.parametrize(("declared", "failed"), [("", 1), ("ISO_IR 126", 0)])
def test_retrieves_are_read_alike(nodes: Nodes, declared: str, failed: int) -> None:
    """A Patient ID beyond ASCII in a C-GET is read in the assumed set where none is declared."""
    node = nodes.start(assumed=Assumptions(otherwise="ISO_IR 144"))
    node.keep(1, patient_id="Ж1".encode("iso8859-5"))
    keys: dict[int, str | bytes] = {LEVEL: "STUDY", PATIENT_ID: "Ж1".encode("iso8859-5"), 0x0020000D: images.STUDY}
    keys |= {CHARSET: declared} if declared else {}

    with node.connect(Offer(1, STUDY_GET)) as peer:
        _, (final,) = peer.get(1, STUDY_GET, identifier(keys))
        peer.release()

    assert failed == final.number(FAILED)  # for want of a context to send it on


@pytest.mark.parametrize(
    ("asked", "script"),
    [
        ("muller*", "Latin-1"),
        ("WALESA^lukasz", "Latin-2"),
        ("haz-zabbar*", "Latin-3"),
        ("cavusoglu*", "Latin-5"),
        ("ΔΙΟΝΥΣΙΟΣ^ΑΡΗΣ", "Greek"),
        ("ＨＯＮＧ^*", "Korean"),
        ("*=张^*", "Chinese in ISO 2022"),
        ("*=*=ﾔﾏﾀﾞ^ﾀ*", "Japanese"),
        ("שרון*", "Hebrew"),
    ],
)
def test_one_among_all_scripts(node: Running, asked: str, script: str) -> None:
    """Among names of all scripts the one that is meant is found, without case, accents, width and kind of kana."""
    apart = {name: one for name, one in SCRIPTS.items() if name != "Japanese with katakana"}
    for number, one in enumerate(apart.values(), 1):
        keep(node, one, number)

    assert ("ISO_IR 192", SCRIPTS[script].text.encode()) == find(node, "ISO_IR 192", asked.encode())


@needs_real_files
def test_real_files_by_name(nodes: Nodes) -> None:
    """DCMTK sends real files of many scripts; asked for what pydicom takes for their names, each is found."""
    node = nodes.start(storage=(CAPTURE, CR))
    with open(REAL_FILES / "MANIFEST.tsv", encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t"))
    names = [row["path"] for row in rows if "/charset_files/" in row["path"] and row["class"] == "storable"]
    # One of them describes pixels that it does not have, and is refused.
    files = [REAL_FILES / name for name in names if "chrKoreanMulti" not in name]
    dcmtk.run("storescu", *dcmtk.address(node.port), *map(str, files))

    for path in files:
        dataset = dcmread(path)
        name = unicodedata.normalize("NFC", str(dataset.PatientName)).rstrip("=^ ")
        with node.connect(Offer(1, STUDY_FIND)) as peer:
            keys = {LEVEL: "STUDY", CHARSET: "ISO_IR 192", NAME: name.encode(), 0x0020000D: dataset.StudyInstanceUID}
            peer.start_query(1, C_FIND, STUDY_FIND, identifier(keys))
            *matches, final = peer.responses()
            peer.release()

        assert [name] == [parse_elements(match.data_set or b"")[NAME].decode().rstrip("=^ ") for match in matches]
        assert 0 == final.status
    assert len(files) > 10
