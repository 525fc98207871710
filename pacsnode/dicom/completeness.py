"""Does an instance hold what its SOP class is there for? If not, it was cut where no fault of structure tells of it.

Asked of what arrives alone: what is here already is kept whatever it holds.
"""

from __future__ import annotations

from pydicom._uid_dict import UID_dictionary

from pacsnode.dicom.coding import PIXEL_DATA
from pacsnode.dicom.elements import Elements
from pacsnode.errors import BadDataset
from pacsnode.model import InstanceHeader

_SAMPLES_PER_PIXEL, _PHOTOMETRIC_INTERPRETATION = 0x00280002, 0x00280004
_PIXEL_DATA_PROVIDER_URL, _FLOAT_PIXELS, _DOUBLE_FLOAT_PIXELS = 0x00287FE0, 0x7FE00008, 0x7FE00009
_ENCAPSULATED_DOCUMENT, _WAVEFORM_SEQUENCE = 0x00420011, 0x54000100
_DESCRIPTIONS = frozenset({_SAMPLES_PER_PIXEL, _PHOTOMETRIC_INTERPRETATION})
_PIXELS = frozenset({PIXEL_DATA, _FLOAT_PIXELS, _DOUBLE_FLOAT_PIXELS, _PIXEL_DATA_PROVIDER_URL})

NOTED_TAGS = _DESCRIPTIONS | _PIXELS | {_ENCAPSULATED_DOCUMENT, _WAVEFORM_SEQUENCE}
"""What the walk over what arrives has to note."""


def _classes(word: str) -> frozenset[str]:
    return frozenset(uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and word in name)


_IMAGES = _classes("Image Storage") | {
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose: may come without a grid, and then without its description
}
_DOCUMENTS = _classes("Encapsulated")
_WAVEFORMS = _classes("Waveform Storage")


def check(header: InstanceHeader, elements: Elements) -> None:
    """Raises BadDataset for a document without its document, a waveform without its waveform (Type 1 both), and for
    an image that describes its pixels and has none, nor the URL of them (Type 1C, PS3.3 C.7.6.3.1).

    An image that does not even describe its pixels is let pass: such are sent, and cannot be told from ones that were
    cut before.
    """
    uid, noted = header.sop_class_uid, elements.noted
    if uid in _DOCUMENTS and _ENCAPSULATED_DOCUMENT not in noted:
        raise BadDataset("truncated: no Encapsulated Document (0042,0011)")
    if uid in _WAVEFORMS and _WAVEFORM_SEQUENCE not in noted:
        raise BadDataset("truncated: no Waveform Sequence (5400,0100)")
    is_described = bool(header.rows or header.columns or header.bits_allocated or noted & _DESCRIPTIONS)
    if is_described and uid in _IMAGES and not noted & _PIXELS:
        raise BadDataset("truncated: pixels are described, but there are none")
