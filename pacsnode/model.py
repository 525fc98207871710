"""The nouns of the program: frozen values that travel between rooms. No behaviour, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import NewType

Uid = NewType("Uid", str)
Key = NewType("Key", str)
"""Where the store keeps an object: ``YYYY/MM/DD/xx/<32 hex digits>``, our own name, never the network's."""
Clock = Callable[[], datetime]
"""Answers the current time, in UTC and aware of it."""


@dataclass(frozen=True, slots=True)
class Original:
    """The data set that came, of an object that was encoded anew since."""

    digest: str  # SHA-256, 64 hex digits
    size: int  # bytes
    transfer_syntax_uid: Uid


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a peer said it is sending, and who it is (PS3.7 9.1.1.1)."""

    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax_uid: Uid
    calling_ae: str
    called_ae: str
    received_at: datetime  # UTC, microseconds
    move_originator: str = ""
    original: Original | None = None  # None: the data set is the one that came


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Which bytes, and where. ``size`` and ``digest`` are those of the data set, without our file meta."""

    key: Key
    size: int  # bytes of the data set
    digest: str  # SHA-256 of the data set, 64 hex digits
    transfer_syntax_uid: Uid
    offset: int  # where the data set begins in the object


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The attributes the index keeps of one SOP instance.

    Text is decoded; values of one attribute are joined by a backslash; what is absent or empty is "". A sequence is a
    JSON list of its items, each by tag (``00080100``), with what ``dicom.attributes`` says is kept of it.
    Fields are named as in ``dicom.attributes``.
    """

    sop_class_uid: Uid
    sop_instance_uid: Uid
    study_instance_uid: Uid
    series_instance_uid: Uid

    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_birth_time: str = ""
    patient_sex: str = ""
    other_patient_ids: str = ""
    other_patient_names: str = ""
    ethnic_group: str = ""

    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    name_of_physicians_reading_study: str = ""
    admitting_diagnoses_description: str = ""
    patient_age: str = ""
    patient_size: str = ""
    patient_weight: str = ""
    occupation: str = ""
    procedure_code_sequence: str = ""

    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    series_date: str = ""
    series_time: str = ""
    body_part_examined: str = ""
    protocol_name: str = ""
    station_name: str = ""
    laterality: str = ""
    institution_name: str = ""
    institutional_department_name: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    performing_physician_name: str = ""
    operators_name: str = ""
    performed_procedure_step_start_date: str = ""
    performed_procedure_step_start_time: str = ""
    request_attributes_sequence: str = ""

    instance_number: str = ""
    content_date: str = ""
    content_time: str = ""
    acquisition_number: str = ""
    acquisition_date: str = ""
    acquisition_time: str = ""
    acquisition_date_time: str = ""
    concept_name_code_sequence: str = ""
    image_type: str = ""
    number_of_frames: str = ""
    rows: str = ""
    columns: str = ""
    bits_allocated: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance of the archive: what it is, where it is, and how it came here."""

    header: InstanceHeader
    stored: StoredObject
    received_at: datetime
    calling_ae: str
    called_ae: str


@dataclass(frozen=True, slots=True)
class Holding:
    """An object as the index knows it: all that its bytes are checked by, without what the data set says."""

    stored: StoredObject
    arrival: Arrival


class Outcome(Enum):
    """What became of an instance that was received."""

    STORED = "stored"
    ALREADY_THERE = "already_there"  # the same data set was here: nothing was written
    UNDECIDED = "undecided"  # of the index alone: a version may hold the same in another encoding; nothing was written
    REPAIRED = "repaired"  # the same data set was here, but damaged: the new object took its place
    NEW_VERSION = "new_version"  # other content under a known UID: kept beside the old
    KEPT_FIRST = "kept_first"  # other content under a known UID: by policy the first stays


class DuplicatePolicy(Enum):
    """What to do with other content under a SOP Instance UID that is already here."""

    VERSION = "version"
    FIRST = "first"
    REJECT = "reject"


class Level(Enum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    # There is one object of each; Enum's own takes a twentieth of the time of a query.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class OneOf:
    """Single value matching and list of UID matching (PS3.4 C.2.2.2.1, C.2.2.2.2)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wildcard matching (PS3.4 C.2.2.2.4): ``*`` any run of characters, ``?`` any one; nothing escapes them."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    """Range matching (PS3.4 C.2.2.2.5), both ends included; None is an open end.

    Dates are ``YYYYMMDD``; times are padded to ``HHMMSS.FFFFFF``, moments to both together.
    """

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Moments:
    """Range matching of a date together with its time (PS3.4 C.2.2.2.5.4): one interval, not so many hours a day.

    The condition is the date's; ``time`` names the attribute of the time. Ends are ``YYYYMMDDHHMMSS.FFFFFF``.
    """

    time: str
    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Items:
    """Sequence matching (PS3.4 C.2.2.2.6): there is an item that meets all conditions, by name."""

    conditions: Mapping[str, Condition]


Condition = OneOf | Wildcard | Range | Moments | Items


OBJECT_KEY = "object_key"
"""May be requested like an attribute: the key of the object that describes the entity. It may be gone meanwhile."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed identifier: which entities of which level, and what to tell of them.

    Names are those of ``dicom.attributes``. Universal matching is the absence of a condition. ``unknown_matches``:
    where these attributes are empty, any single value and range matches (PS3.4 C.2.2.1.2).
    """

    level: Level
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    requested: tuple[str, ...] = ()
    unknown_matches: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Match:
    """One row of answer: a value for every requested name, "" where it is unknown."""

    values: Mapping[str, str]


class FailureReason(IntEnum):
    """Why an instance is not committed: Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reference:
    """A SOP instance as a peer names it: an item of Referenced SOP Sequence (0008,1199)."""

    sop_class_uid: Uid
    sop_instance_uid: Uid


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a peer asks us to answer for (PS3.4 J.3.2), and who it is. Each reference is there once."""

    transaction_uid: Uid
    references: tuple[Reference, ...]
    calling_ae: str
    called_ae: str
    requested_at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class Transaction:
    """A storage commitment that is not reported yet; ``number`` is ours, since peers may use a UID twice."""

    number: int
    transaction_uid: Uid
    calling_ae: str
    called_ae: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class Commitment:
    """A transaction with what it is about, and the verdict on each reference: None is committed."""

    transaction: Transaction
    references: tuple[Reference, ...]
    verdict: tuple[FailureReason | None, ...] | None  # None before it is reached

    @property
    def failed(self) -> int:
        """How many references are not committed."""
        return sum(reason is not None for reason in self.verdict or ())


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """What a peer reports of a transaction of ours (PS3.4 J.3.3); of ``failed`` the reasons, by SOP Instance UID."""

    transaction_uid: Uid
    committed: frozenset[Reference]
    failed: Mapping[Uid, int]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What we asked a peer to commit to. ``reasons``, for each reference: 0 is committed, None is not told yet, else
    the Failure Reason that the peer gave."""

    transaction_uid: Uid
    called_ae: str
    references: tuple[Reference, ...]
    asked_at: datetime  # UTC
    reasons: tuple[int | None, ...]
    refusal: int | None = None  # the status of the peer that did not take the request over
    reported_at: datetime | None = None

    @property
    def committed(self) -> int:
        """How many references the peer has taken responsibility for."""
        return self.reasons.count(0)

    @property
    def unanswered(self) -> int:
        """Of how many the peer has said nothing."""
        return self.reasons.count(None)

    @property
    def failed(self) -> int:
        """How many the peer does not take responsibility for."""
        return len(self.reasons) - self.committed - self.unanswered


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote application entity we know, and what it may do here."""

    name: str
    ae_title: str
    host: str
    port: int
    tls: bool = False
    tls_name: str = ""  # what its certificate is made out to, where that is not the host
    allow: frozenset[str] = frozenset({"echo", "store", "find", "get", "move", "commit"})
    associations: int = 1  # at a time, for one C-MOVE to it
    match_unknown: bool = True  # does what is unknown match in its queries?
    move_destinations: frozenset[str] | None = None  # AE titles; None is all
    max_associations: int = 0  # that it may open at a time; 0 is as many as any peer


@dataclass(frozen=True, slots=True)
class Probe:
    """What a test of a peer found: times in milliseconds, transfer syntaxes that it accepts by SOP class."""

    associate_ms: float
    echo_ms: tuple[float, ...]
    accepted: Mapping[Uid, list[Uid]]
    refused: list[Uid]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the index holds; versions that were superseded are not counted."""

    patients: int
    studies: int
    series: int
    instances: int
    stored_bytes: int
