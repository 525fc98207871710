"""Instances to be stored, and what a query for them has to find: worked out here from the tree, by the standard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pacsnode.dicom import syntax
from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME, UNIQUE_KEYS, Attribute
from pacsnode.model import Level

ROOT = "2.25.3151.77"
CT, MR, US = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.6.1"
SOP_CLASSES = (CT, MR, US)
SYNTAXES: tuple[str, ...] = (syntax.EXPLICIT_VR_LITTLE_ENDIAN, syntax.IMPLICIT_VR_LITTLE_ENDIAN)
_LEVELS = tuple(Level)
_PIXEL_DATA = 0x7FE00010
_STUDY_OF: Mapping[int, int] = MappingProxyType({1: 1, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 5, 9: 6})  # by series
_PATIENT_OF: Mapping[int, int] = MappingProxyType({1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 3})  # by study
_IMAGES = tuple(series for series in _STUDY_OF for _ in range(1 + series % 3))  # their series


@dataclass(frozen=True, slots=True)
class Sample:
    """An image by the numbers of the entities it is in."""

    numbers: Mapping[Level, int]

    @property
    def sop_class(self) -> str:
        """Each series has its own."""
        return SOP_CLASSES[self.numbers[Level.SERIES] % 3]

    @property
    def transfer_syntax(self) -> str:
        """They take turns."""
        return SYNTAXES[self.numbers[Level.IMAGE] % len(SYNTAXES)]

    @property
    def instance(self) -> str:
        """SOP Instance UID."""
        return _own_value(BY_NAME["sop_instance_uid"], self.numbers[Level.IMAGE])

    def value(self, attribute: Attribute) -> str:
        """The value of an attribute; several are separated by backslashes."""
        return _value(attribute, self)

    def data_set(self) -> Dataset:
        """All attributes of the index that an instance can have."""
        made = Dataset()
        for attribute in ATTRIBUTES:
            if not attribute.is_counted:
                put(made, attribute, self.value(attribute))
        made.add_new(_PIXEL_DATA, "OW", b"\0\0")  # an image that describes its pixels has some
        return made


def samples() -> Iterator[Sample]:
    """All of them."""
    for image, series in enumerate(_IMAGES, 1):
        study = _STUDY_OF[series]
        numbers = {Level.PATIENT: _PATIENT_OF[study], Level.STUDY: study, Level.SERIES: series, Level.IMAGE: image}
        yield Sample(MappingProxyType(numbers))


def put(data_set: Dataset, attribute: Attribute, text: str) -> None:
    """Set an attribute; several values are separated by backslashes."""
    value: object = text
    if attribute.vr == "SQ":
        value = Sequence([_item(text)] if text else [])
    elif attribute.vr == "US":
        value = [int(number) for number in text.split("\\") if number]
    data_set.add_new(attribute.tag, attribute.vr, value)


def expected(attribute: Attribute, level: Level) -> dict[str, frozenset[str]]:
    """The values of the attribute for every entity of a level, which is known by its unique key."""
    found: dict[str, set[str]] = {}
    for sample in samples():
        key = _own_value(BY_NAME[UNIQUE_KEYS[level]], sample.numbers[level])
        found.setdefault(key, set()).update(_value(attribute, sample).split("\\"))
    return {key: frozenset(values) for key, values in found.items()}


def matches(pattern: str, values: frozenset[str]) -> bool:
    """Wildcard matching of any of the values (PS3.4 C.2.2.2.4)."""
    return any(fnmatchcase(value, pattern) for value in values)


def _item(text: str) -> Dataset:
    """An item that has what code sequences and request attributes have."""
    item = Dataset()
    item.AccessionNumber = item.CodeValue = text
    return item


def _value(attribute: Attribute, sample: Sample) -> str:
    if attribute.is_counted:
        below = [one for one in samples() if one.numbers[attribute.level] == sample.numbers[attribute.level]]
        return _COUNTED[attribute.name](below)
    if attribute.name == "sop_class_uid":
        return sample.sop_class
    return _own_value(attribute, sample.numbers[attribute.level])


def _distinct(level: Level) -> Callable[[list[Sample]], str]:
    return lambda below: str(len({one.numbers[level] for one in below}))


def _all(value: Callable[[Sample], str]) -> Callable[[list[Sample]], str]:
    return lambda below: "\\".join(sorted({value(one) for one in below}))


_COUNTED: Mapping[str, Callable[[list[Sample]], str]] = MappingProxyType({
    "number_of_patient_related_studies": _distinct(Level.STUDY),
    "number_of_patient_related_series": _distinct(Level.SERIES),
    "number_of_patient_related_instances": _distinct(Level.IMAGE),
    "number_of_study_related_series": _distinct(Level.SERIES),
    "number_of_study_related_instances": _distinct(Level.IMAGE),
    "number_of_series_related_instances": _distinct(Level.IMAGE),
    "modalities_in_study": _all(lambda one: _value(BY_NAME["modality"], one)),
    "sop_classes_in_study": _all(lambda one: one.sop_class),
    "available_transfer_syntax_uid": _all(lambda one: one.transfer_syntax),
})  # fmt: skip


def _own_value(attribute: Attribute, number: int) -> str:
    """A value that its VR allows, different for every entity."""
    depth = _LEVELS.index(attribute.level)
    forms = {
        "UI": f"{ROOT}.{depth}.{number}",
        "DA": f"200101{number:02}",
        "TM": f"10{number:02}00",
        "DT": f"200101{number:02}101010",
        "IS": str(number),
        "US": str(number),
        "DS": f"{number}.5",
        "AS": f"{number:03}Y",
        "PN": f"SELFTEST{number:02}^P",
    }
    return forms.get(attribute.vr, f"ST{number:02}X")
