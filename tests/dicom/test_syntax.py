import pydicom.uid
import pytest
from pydicom._uid_dict import UID_dictionary

from pacsnode.dicom import syntax
from pacsnode.model import Uid

_WITHOUT_DATA_SETS = ("1.2.840.10008.1.2.6", "1.2.840.10008.1.2.7")  # RFC 2557, XML, SMPTE ST 2110
_JPIP = ("JPIP",)
KNOWN = [
    uid
    for uid, entry in UID_dictionary.items()
    if entry[1] == "Transfer Syntax" and not uid.startswith(_WITHOUT_DATA_SETS)
]


@pytest.mark.parametrize("uid", [uid for uid in KNOWN if not pydicom.uid.UID(uid).name.startswith(_JPIP)])
def test_standard_syntaxes(uid: str) -> None:
    """Of every syntax of PS3.6 we say what pydicom says."""
    theirs = pydicom.uid.UID(uid)

    assert theirs.is_little_endian == syntax.is_little_endian(Uid(uid))
    assert theirs.is_deflated == syntax.is_deflated(Uid(uid))
    if uid != syntax.PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN:  # retired, and explicit for pydicom
        assert theirs.is_implicit_VR == syntax.is_implicit(Uid(uid))
        assert theirs.is_encapsulated == syntax.is_encapsulated(Uid(uid))


def test_jpip_with_a_url_instead_of_pixels() -> None:
    """Referenced pixels are never encapsulated, and two of the four syntaxes are deflated (PS3.5 A.6, A.7)."""
    uids = [Uid(f"1.2.840.10008.1.2.4.{last}") for last in (94, 95, 204, 205)]

    assert [syntax.is_encapsulated(uid) for uid in uids] == [False, False, False, False]
    assert [syntax.is_deflated(uid) for uid in uids] == [False, True, False, True]


@pytest.mark.parametrize("uid", ["2.16.840.1.113709.1.2.2", "1.2.3.4", ""])
def test_unknown_syntaxes(uid: str) -> None:
    """What we do not know is explicit VR little endian, and may hold fragments."""
    facts = (syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated, syntax.is_encapsulated)

    assert [fact(Uid(uid)) for fact in facts] == [False, True, False, True]


def test_private_syntax_of_ge() -> None:
    """GE's big endian pixels come in a data set that is implicit VR little endian."""
    uid = Uid("1.2.840.113619.5.2")

    assert syntax.is_implicit(uid)
    assert syntax.is_little_endian(uid)
    assert not syntax.is_encapsulated(uid)
