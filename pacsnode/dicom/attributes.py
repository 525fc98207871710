"""The attributes the index knows: tag, VR, level and what the query model demands (PS3.4 C.6.1.1, C.6.2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pacsnode.model import Level


class Requirement(Enum):
    """Key types of PS3.4 C.2.2.1."""

    UNIQUE = "U"
    REQUIRED = "R"
    OPTIONAL = "O"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that can be asked for.

    ``name`` is the field of InstanceHeader and the column of the index. Counted ones are worked out by the index
    from what lies below the entity, or are the same for everything (availability). ``items``: what is kept of each item
    of a sequence; the names of these are used within their sequence only.
    """

    name: str
    tag: int
    vr: str
    level: Level
    requirement: Requirement
    is_counted: bool = False
    items: tuple[Attribute, ...] = ()


def _codes(level: Level) -> tuple[Attribute, ...]:
    """What is kept of a coded entry (PS3.3 8.8)."""
    return (
        Attribute("code_value", 0x00080100, "SH", level, Requirement.OPTIONAL),
        Attribute("coding_scheme_designator", 0x00080102, "SH", level, Requirement.OPTIONAL),
        Attribute("coding_scheme_version", 0x00080103, "SH", level, Requirement.OPTIONAL),
        Attribute("code_meaning", 0x00080104, "LO", level, Requirement.OPTIONAL),
    )


def _requests() -> tuple[Attribute, ...]:
    """What is kept of an item of Request Attributes Sequence (PS3.3 10.6)."""
    level, optional = Level.SERIES, Requirement.OPTIONAL
    codes = _codes(level)
    return (
        Attribute("accession_number", 0x00080050, "SH", level, optional),
        Attribute("study_instance_uid", 0x0020000D, "UI", level, optional),
        Attribute("requested_procedure_description", 0x00321060, "LO", level, optional),
        Attribute("requested_procedure_code_sequence", 0x00321064, "SQ", level, optional, items=codes),
        Attribute("scheduled_procedure_step_description", 0x00400007, "LO", level, optional),
        Attribute("scheduled_protocol_code_sequence", 0x00400008, "SQ", level, optional, items=codes),
        Attribute("scheduled_procedure_step_id", 0x00400009, "SH", level, optional),
        Attribute("requested_procedure_id", 0x00401001, "SH", level, optional),
        Attribute("reason_for_the_requested_procedure", 0x00401002, "LO", level, optional),
    )


def _table() -> tuple[Attribute, ...]:
    unique, required, optional = Requirement.UNIQUE, Requirement.REQUIRED, Requirement.OPTIONAL
    patient, study, series, image = Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE
    return (
        Attribute("patient_id", 0x00100020, "LO", patient, unique),
        Attribute("issuer_of_patient_id", 0x00100021, "LO", patient, optional),
        Attribute("patient_name", 0x00100010, "PN", patient, required),
        Attribute("patient_birth_date", 0x00100030, "DA", patient, optional),
        Attribute("patient_birth_time", 0x00100032, "TM", patient, optional),
        Attribute("patient_sex", 0x00100040, "CS", patient, optional),
        Attribute("other_patient_ids", 0x00101000, "LO", patient, optional),
        Attribute("other_patient_names", 0x00101001, "PN", patient, optional),
        Attribute("ethnic_group", 0x00102160, "SH", patient, optional),
        Attribute("number_of_patient_related_studies", 0x00201200, "IS", patient, optional, True),
        Attribute("number_of_patient_related_series", 0x00201202, "IS", patient, optional, True),
        Attribute("number_of_patient_related_instances", 0x00201204, "IS", patient, optional, True),
        Attribute("study_instance_uid", 0x0020000D, "UI", study, unique),
        Attribute("study_date", 0x00080020, "DA", study, required),
        Attribute("study_time", 0x00080030, "TM", study, required),
        Attribute("accession_number", 0x00080050, "SH", study, required),
        Attribute("study_id", 0x00200010, "SH", study, required),
        Attribute("study_description", 0x00081030, "LO", study, optional),
        Attribute("referring_physician_name", 0x00080090, "PN", study, optional),
        Attribute("name_of_physicians_reading_study", 0x00081060, "PN", study, optional),
        Attribute("admitting_diagnoses_description", 0x00081080, "LO", study, optional),
        Attribute("patient_age", 0x00101010, "AS", study, optional),
        Attribute("patient_size", 0x00101020, "DS", study, optional),
        Attribute("patient_weight", 0x00101030, "DS", study, optional),
        Attribute("occupation", 0x00102180, "SH", study, optional),
        Attribute("procedure_code_sequence", 0x00081032, "SQ", study, optional, items=_codes(study)),
        Attribute("modalities_in_study", 0x00080061, "CS", study, optional, True),
        Attribute("sop_classes_in_study", 0x00080062, "UI", study, optional, True),
        Attribute("number_of_study_related_series", 0x00201206, "IS", study, optional, True),
        Attribute("number_of_study_related_instances", 0x00201208, "IS", study, optional, True),
        Attribute("series_instance_uid", 0x0020000E, "UI", series, unique),
        Attribute("modality", 0x00080060, "CS", series, required),
        Attribute("series_number", 0x00200011, "IS", series, required),
        Attribute("series_description", 0x0008103E, "LO", series, optional),
        Attribute("series_date", 0x00080021, "DA", series, optional),
        Attribute("series_time", 0x00080031, "TM", series, optional),
        Attribute("body_part_examined", 0x00180015, "CS", series, optional),
        Attribute("protocol_name", 0x00181030, "LO", series, optional),
        Attribute("station_name", 0x00081010, "SH", series, optional),
        Attribute("laterality", 0x00200060, "CS", series, optional),
        Attribute("institution_name", 0x00080080, "LO", series, optional),
        Attribute("institutional_department_name", 0x00081040, "LO", series, optional),
        Attribute("manufacturer", 0x00080070, "LO", series, optional),
        Attribute("manufacturer_model_name", 0x00081090, "LO", series, optional),
        Attribute("performing_physician_name", 0x00081050, "PN", series, optional),
        Attribute("operators_name", 0x00081070, "PN", series, optional),
        Attribute("performed_procedure_step_start_date", 0x00400244, "DA", series, optional),
        Attribute("performed_procedure_step_start_time", 0x00400245, "TM", series, optional),
        Attribute("request_attributes_sequence", 0x00400275, "SQ", series, optional, items=_requests()),
        Attribute("number_of_series_related_instances", 0x00201209, "IS", series, optional, True),
        Attribute("sop_instance_uid", 0x00080018, "UI", image, unique),
        Attribute("sop_class_uid", 0x00080016, "UI", image, optional),
        Attribute("instance_number", 0x00200013, "IS", image, required),
        Attribute("content_date", 0x00080023, "DA", image, optional),
        Attribute("content_time", 0x00080033, "TM", image, optional),
        Attribute("acquisition_number", 0x00200012, "IS", image, optional),
        Attribute("acquisition_date", 0x00080022, "DA", image, optional),
        Attribute("acquisition_time", 0x00080032, "TM", image, optional),
        Attribute("acquisition_date_time", 0x0008002A, "DT", image, optional),
        Attribute("concept_name_code_sequence", 0x0040A043, "SQ", image, optional, items=_codes(image)),
        Attribute("image_type", 0x00080008, "CS", image, optional),
        Attribute("number_of_frames", 0x00280008, "IS", image, optional),
        Attribute("rows", 0x00280010, "US", image, optional),
        Attribute("columns", 0x00280011, "US", image, optional),
        Attribute("bits_allocated", 0x00280100, "US", image, optional),
        Attribute("available_transfer_syntax_uid", 0x00083002, "UI", image, optional, True),
    )


ATTRIBUTES: tuple[Attribute, ...] = _table()
BY_NAME: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}
BY_TAG: dict[int, Attribute] = {attribute.tag: attribute for attribute in ATTRIBUTES}
HEADER_TAGS: frozenset[int] = frozenset(a.tag for a in ATTRIBUTES if not a.is_counted) | {0x00080005}
"""What a walk over a received data set collects: the stored attributes and Specific Character Set."""
UNIQUE_KEYS: dict[Level, str] = {a.level: a.name for a in ATTRIBUTES if a.requirement is Requirement.UNIQUE}
