"""Queries as bytes, over an archive of two hundred studies, answered as a matcher written from the standard answers.

``PACSNODE_QUERIES=5000`` asks more of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from pacsnode.dicom import identifier
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.dicom.header import read_header
from pacsnode.dicom.identifier import Root, Rules
from pacsnode.dicom.response import MatchEncoder
from pacsnode.dicom.syntax import IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance
from tests.dicom.dataset_bytes import Branch, Leaf, Node, encode, walk
from tests.dimse.raw_peer import parse_elements
from tests.index import oracle
from tests.index.oracle import Agreed, Entity, Value
from tests.index.samples import CT, SR, instance

QUERIES = int(os.environ.get("PACSNODE_QUERIES", "800"))
STUDIES, PATIENTS = 200, 130
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
REQUIRED = frozenset({"PatientName", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "Modality", "SeriesNumber",
                      "InstanceNumber"})  # fmt: skip
"""PS3.4 C.6.1.1; in the Study Root Patient ID, too (C.6.2.1.2)."""
DAYS = ["20240227", "20240228", "2024.02.29", "20240301", ""]
HOURS = ["10", "1030", "10:30:15", "103015.5", "235959.999999", "000000", ""]
NAMES = ["Doe^John", "DOE^JÖRG^^", "Doe", "Yamada^Tarou=山田^太郎", "=山田", "d[o]e^x", "Müller^Anna Maria", ""]
CODES: list[Value] = [
    [{"CodeValue": "A1", "CodingSchemeDesignator": "99X", "CodeMeaning": "One"}],
    [{"CodeValue": "A1", "CodingSchemeDesignator": "99Y"}, {"CodeValue": "B1", "CodingSchemeDesignator": "99X"}],
    [{"CodeValue": "B1", "CodeMeaning": "Größe"}, {"CodeMeaning": "One"}],
    [],
]
REQUESTS: list[Value] = [
    [{"RequestedProcedureID": "R1", "ScheduledProtocolCodeSequence": CODES[1]}],
    [{"RequestedProcedureID": "R1"}, {"RequestedProcedureID": "R2", "ScheduledProtocolCodeSequence": CODES[0]}],
    [],
]
STORED: dict[str, dict[str, list[Value]]] = {
    "PATIENT": {
        "PatientID": ["P1", "01", "A[b]", "A*", "a", "A%_", ""],
        "PatientName": [*NAMES],
        "OtherPatientIDs": ["A\\B\\C", "A", "AB\\XC", ""],
        "PatientBirthDate": [*DAYS],
        "PatientBirthTime": [*HOURS],
        "PatientSex": ["M", "F", ""],
        "EthnicGroup": ["e1", "E1", ""],
    },
    "STUDY": {
        "StudyDate": [*DAYS],
        "StudyTime": [*HOURS],
        "AccessionNumber": ["A1", "a1", "A1 x", "A12", ""],
        "StudyID": ["1", "01", "S-1", ""],
        "StudyDescription": ["Thorax ünten", "THORAX", "*", "?", ""],
        "ReferringPhysicianName": [*NAMES],
        "PatientAge": ["070Y", "011M", ""],
        "PatientWeight": ["70", "70.50", "+7.05e1", ""],
        "ProcedureCodeSequence": CODES,
    },
    "SERIES": {
        "SeriesNumber": ["1", "01", "+1", "-1", "12", ""],
        "SeriesDescription": ["Axial", "axial", "AX 5mm", ""],
        "SeriesDate": [*DAYS],
        "SeriesTime": [*HOURS],
        "BodyPartExamined": ["CHEST", "HEAD", ""],
        "Manufacturer": ["ACME", "Acme & Co", ""],
        "OperatorsName": [*NAMES],
        "PerformedProcedureStepStartDate": [*DAYS],
        "PerformedProcedureStepStartTime": [*HOURS],
        "RequestAttributesSequence": REQUESTS,
    },
    "IMAGE": {
        "InstanceNumber": ["1", "001", "2", "17", ""],
        "ContentDate": [*DAYS],
        "ContentTime": [*HOURS],
        "ImageType": ["ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY\\OTHER", ""],
        "AcquisitionDateTime": ["20240229103015.5", "20240229113015.5+0100", "20240301-0500", "20240301", ""],
        "ConceptNameCodeSequence": CODES,
    },
}
MODALITIES = ["CT", "MR", "SR", "PT", ""]
UNIQUE = {"PATIENT": "IssuerOfPatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID",
          "IMAGE": "SOPInstanceUID"}  # fmt: skip
COUNTED = {
    "PATIENT": ["NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"],
    "STUDY": ["ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"],
    "SERIES": ["NumberOfSeriesRelatedInstances"],
    "IMAGE": [],
}


def nodes(entity: Entity) -> tuple[Node, ...]:
    """The entity as elements, in UTF-8."""
    made: list[Leaf | Branch] = []
    for keyword, value in entity.items():
        tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
        assert tag is not None
        if isinstance(value, list):
            made.append(Branch(tag, tuple(nodes(item) for item in value)))
        else:
            raw = value.encode()
            made.append(Leaf(tag, vr, raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)))
    return tuple(sorted(made, key=lambda node: node.tag))


def data_set(entity: Entity) -> bytes:
    """As it would be sent."""
    return encode(nodes({"SpecificCharacterSet": "ISO_IR 192", **entity}), IMPLICIT_VR_LITTLE_ENDIAN)


def values_of(level: str, number: int) -> Entity:
    """Each attribute goes round its values at its own pace."""
    return {
        keyword: pool[(number // (pace % 3 + 1) + number * pace) % len(pool)]
        for pace, (keyword, pool) in enumerate(STORED[level].items(), 1)
    }


def images() -> Iterator[Entity]:
    """Every image with all that is above it: one to three series of a study, one or two images of a series."""
    for study in range(STUDIES):
        patient = study % PATIENTS
        above = {**values_of("PATIENT", patient), "IssuerOfPatientID": f"I{patient}"}
        above |= {**values_of("STUDY", study), "StudyInstanceUID": f"1.{study}"}
        for series in range(study % 3 + 1):
            number = study + 7 * series
            modality = MODALITIES[number % len(MODALITIES)]
            within = {**above, **values_of("SERIES", number), "SeriesInstanceUID": f"2.{study}.{series}"}
            for image in range(number % 2 + 1):
                uid = f"3.{study}.{series}.{image}"
                sop_class = str(SR if modality == "SR" else CT)
                own = {"SOPInstanceUID": uid, "SOPClassUID": sop_class, "Modality": modality}
                yield {**within, **values_of("IMAGE", number + image), **own}


IMAGES = tuple(images())


def entities(level: str) -> tuple[Entity, ...]:
    """What the level consists of, with counts worked out the slow way."""
    result = []
    seen = set()
    for image in IMAGES:
        if image[UNIQUE[level]] not in seen:
            seen.add(image[UNIQUE[level]])
            result.append({**image, **counts(image)})
    return tuple(result)


def counts(one: Entity) -> Entity:
    """The counted attributes of the entities that the image belongs to."""
    found: Entity = {}
    for level in ("PATIENT", "STUDY", "SERIES"):
        inside = [image for image in IMAGES if image[UNIQUE[level]] == one[UNIQUE[level]]]
        name = f"NumberOf{level.title()}Related"
        for below, plural in (("STUDY", "Studies"), ("SERIES", "Series"), ("IMAGE", "Instances")):
            found[name + plural] = str(len({str(image[UNIQUE[below]]) for image in inside}))
        if level == "STUDY":
            for source, keyword in (("Modality", "ModalitiesInStudy"), ("SOPClassUID", "SOPClassesInStudy")):
                found[keyword] = "\\".join(sorted({str(image[source]) for image in inside} - {""}))
    return found


ENTITIES = {level: entities(level) for level in LEVELS}


def kept(number: int, image: Entity) -> Instance:
    """The image as it would come in."""
    return instance(number, read_header(walk(data_set(image), IMPLICIT_VR_LITTLE_ENDIAN, HEADER_TAGS)))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteIndex]:
    path: Path = tmp_path_factory.mktemp("index") / "index.db"
    index = SqliteIndex(path)
    index.add_many([kept(number, image) for number, image in enumerate(IMAGES)])
    yield index
    index.close()


@dataclass(frozen=True)
class Asked:
    """A query, and under which rules."""

    root: Root
    level: str
    keys: Entity
    combined: bool
    unknown: bool


@st.composite
def keys_for(draw: st.DrawFn, keyword: str, pool: list[Value]) -> Value:
    """A key near the values that there are."""
    if isinstance(pool[0], list):
        return draw(item_keys())
    known = sorted({one for value in pool if isinstance(value, str) for one in value.split("\\") if one})
    vr = dictionary_VR(keyword)
    one = draw(st.sampled_from(known))
    if vr in ("DA", "TM") and draw(st.booleans()):
        other = draw(st.sampled_from(known))
        return draw(st.sampled_from([f"{one}-{other}", f"{one}-", f"-{one}", f" {one} - {other} "]))
    if vr in ("LO", "SH", "CS", "PN") and draw(st.booleans()):
        begin = draw(st.integers(0, len(one)))
        end = draw(st.integers(begin, len(one)))
        return one[:begin] + draw(st.sampled_from(["*", "?", "**", "?*"])) + one[end:]
    if vr == "PN":
        return draw(st.sampled_from([one, one.upper(), one.split("=")[0], one.split("^")[0], f"{one}^", f"={one}"]))
    if draw(st.booleans()):
        several = [value for value in known if not set(value) & set("*?")]  # no patterns in a list
        return "\\".join(draw(st.lists(st.sampled_from(several), min_size=1, max_size=3)))
    return draw(st.sampled_from([one, one.upper(), "", "*"] if vr in ("LO", "SH", "CS") else [one, ""]))


@st.composite
def item_keys(draw: st.DrawFn, depth: int = 0) -> Value:
    """One item of a sequence key, or none."""
    item: Entity = {}
    texts = {"CodeValue": ["A1", "B1", "A*", "?1", ""], "CodingSchemeDesignator": ["99X", "99Y", "*", ""],
             "CodeMeaning": ["One", "Gr??e", "O*", ""]}  # fmt: skip
    if depth == 0 and draw(st.booleans()):
        item["RequestedProcedureID"] = draw(st.sampled_from(["R1", "R2", "R*", ""]))
        if draw(st.booleans()):
            item["ScheduledProtocolCodeSequence"] = draw(item_keys(depth=1))
        return [item]
    for keyword in draw(st.lists(st.sampled_from(sorted(texts)), unique=True)):
        item[keyword] = draw(st.sampled_from(texts[keyword]))
    return draw(st.sampled_from([[item], [item], [item], []]))


@st.composite
def queries(draw: st.DrawFn) -> Asked:
    root = draw(st.sampled_from([Root.PATIENT, Root.STUDY]))
    level = draw(st.sampled_from([level.value for level in root.levels]))
    above = LEVELS[: LEVELS.index(level) + 1]
    pools = {keyword: pool for one in above for keyword, pool in STORED[one].items()}
    pools |= {keyword: [one[keyword] for one in ENTITIES["IMAGE"]] for one in above for keyword in COUNTED[one]}
    pools |= {UNIQUE[one]: [image[UNIQUE[one]] for image in IMAGES[:40]] for one in above}
    if level in ("SERIES", "IMAGE"):
        pools["Modality"] = [*MODALITIES]
    chosen = draw(st.lists(st.sampled_from(sorted(pools)), min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        pairs = [pair for pair in oracle.DATE_AND_TIME if pair[0] in pools and pair[1] in pools]
        chosen = list(dict.fromkeys([*chosen, *draw(st.sampled_from(pairs))]))
    keys = {keyword: draw(keys_for(keyword, pools[keyword])) for keyword in chosen}
    for keyword, kin in (
        ("ProcedureCodeSequence", 0),
        ("ConceptNameCodeSequence", 0),
        ("RequestAttributesSequence", 1),
    ):
        key = keys.get(keyword, "")
        if isinstance(key, list):  # with keys that its items have
            keys[keyword] = [item for item in key if _is_of(item, kin)]
    return Asked(root, level, keys, draw(st.booleans()), draw(st.booleans()))


def _is_of(item: Entity, kin: int) -> bool:
    return not item or ("RequestedProcedureID" in item) == bool(kin)


@pytest.mark.timeout(120 + QUERIES // 10)
@settings(
    max_examples=QUERIES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(asked=queries())
def test_answers_are_those_of_the_standard(index: SqliteIndex, asked: Asked) -> None:
    """Exactly the entities that match are told, each with the items that match."""
    required = REQUIRED if asked.root is Root.PATIENT else REQUIRED | {"PatientID"}
    agreed = Agreed(asked.combined, required if asked.unknown else frozenset())
    expected = sorted(
        told(one, asked.keys, asked.level) for one in ENTITIES[asked.level] if oracle.matches(one, asked.keys, agreed)
    )

    asking: Entity = {UNIQUE[asked.level]: "", **asked.keys, "QueryRetrieveLevel": asked.level}
    rules = Rules(combines_date_and_time=asked.combined, matches_unknown=asked.unknown)
    request = identifier.parse_find(data_set(asking), IMPLICIT_VR_LITTLE_ENDIAN, asked.root, rules)
    encoder = MatchEncoder(request, IMPLICIT_VR_LITTLE_ENDIAN, retrieve_ae_title="PACS")
    answers = [parse_elements(encoder.encode(match)) for match in index.find(request.query)]

    assert expected == sorted(answered(elements, asked.keys, asked.level) for elements in answers)


def told(entity: Entity, keys: Entity, level: str) -> tuple[bytes, ...]:
    """Identity and sequences of a response that should be."""
    result = [str(entity[UNIQUE[level]]).encode()]
    for keyword, key in sorted(keys.items()):
        if isinstance(key, list):
            wanted: Entity = key[0] if key else {}
            result.append(encoded_items(keyword, answer_items(entity[keyword], wanted or everything(keyword))))
    return tuple(result)


def answer_items(stored: Value, key: Entity) -> list[Entity]:
    """The matching items, with the keys asked for."""
    assert isinstance(stored, list)
    result = []
    for item in oracle.matching_items(stored, key):
        one: Entity = {}
        for keyword, value in key.items():
            known = item.get(keyword, "")
            if isinstance(value, list):
                inner = value[0] if value and value[0] else everything(keyword)
                one[keyword] = answer_items(known or [], inner)
            else:
                one[keyword] = known
        result.append(one)
    return result


def everything(keyword: str) -> Entity:
    """The key that stands for no item, or an empty one: all that is known of the items."""
    codes: Entity = dict.fromkeys(("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"), "")
    if keyword != "RequestAttributesSequence":
        return codes
    texts = ("AccessionNumber", "StudyInstanceUID", "RequestedProcedureDescription", "RequestedProcedureID",
             "ScheduledProcedureStepDescription", "ScheduledProcedureStepID",
             "ReasonForTheRequestedProcedure")  # fmt: skip
    sequences = ("RequestedProcedureCodeSequence", "ScheduledProtocolCodeSequence")
    return {**dict.fromkeys(texts, ""), **{key: [codes] for key in sequences}}


def encoded_items(keyword: str, items: list[Entity]) -> bytes:
    """All lengths defined, as we send them."""
    return encode(nodes({keyword: items}), IMPLICIT_VR_LITTLE_ENDIAN)[8:]


def answered(elements: dict[int, bytes], keys: Entity, level: str) -> tuple[bytes, ...]:
    """Identity and sequences of a response."""
    result = [elements[tag_for_keyword(UNIQUE[level]) or 0].strip(b"\0 ")]
    for keyword, key in sorted(keys.items()):
        if isinstance(key, list):
            result.append(elements[tag_for_keyword(keyword) or 0])
    return tuple(result)
