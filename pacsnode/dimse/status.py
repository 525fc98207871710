"""DIMSE statuses, one table per service: which of our errors is answered how (PS3.7 Annex C, PS3.4 B.2.3, C.4).

What may be tried again is answered A7xx, what may not Cxxx, A9xx or 01xx: many senders park the second kind.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pacsnode.errors import (
    AuditFailure,
    BackupDamaged,
    BackupFailure,
    BadDataset,
    CannotListen,
    CodecCrashed,
    CodecFailure,
    CodecMismatch,
    CodecRefused,
    CodecTooLarge,
    CodecTooSlow,
    CodecUnavailable,
    ConfigError,
    DatasetTooLarge,
    DuplicateRefused,
    FaultyElement,
    IndexFailure,
    IndexFull,
    InvalidQuery,
    JobRunning,
    MalformedUid,
    NodeRunning,
    NotAllowed,
    NotInBackup,
    ObjectDamaged,
    ObjectNotFound,
    ObjectUnreadable,
    PacsNodeError,
    PeerFailure,
    PeerSilent,
    ProtocolViolation,
    QueryTooLong,
    RejectedByUs,
    SopClassNotSupported,
    StoreError,
    StoreFull,
    StudyHeld,
    StudyNotKept,
    UidMismatch,
    UnknownDestination,
)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_SOP_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_SOP_CLASS = 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
UNRECOGNIZED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01
SUBOPERATIONS_INCOMPLETE = 0xB000
OUT_OF_RESOURCES = 0xA700
UNABLE_TO_PERFORM_SUBOPERATIONS = 0xA702

Table = Mapping[type[PacsNodeError], int]

# Errors that end an association or a process, or make one sub-operation fail, instead of being answered; listed so that
# the tables are complete.
_NOT_EXPECTED: dict[type[PacsNodeError], int] = {
    PacsNodeError: 0xA7FF,
    ConfigError: 0xA7FE,
    NodeRunning: 0xA7FD,
    JobRunning: 0xA7FD,
    AuditFailure: 0xA7FC,
    CannotListen: 0xA7FC,
    BackupFailure: 0xA7FD,
    BackupDamaged: 0xA7FD,
    NotInBackup: 0xA7FD,
    StudyHeld: 0xA7FD,
    StudyNotKept: 0xA7FD,
    ProtocolViolation: 0x0110,
    PeerFailure: 0x0110,
    PeerSilent: 0x0110,
    CodecFailure: 0xA7FB,
    CodecRefused: 0xA7FB,
    CodecCrashed: 0xA7FB,
    CodecTooSlow: 0xA7FB,
    CodecTooLarge: 0xA7FB,
    CodecUnavailable: 0xA7FB,
    CodecMismatch: 0xA7FB,
}

STORE: Table = {
    **_NOT_EXPECTED,
    StoreFull: 0xA700,
    StoreError: 0xA701,
    ObjectNotFound: 0xA702,
    ObjectDamaged: 0xA703,
    ObjectUnreadable: 0xA704,
    IndexFailure: 0xA710,
    IndexFull: 0xA700,
    QueryTooLong: 0xA710,
    UidMismatch: 0xA900,
    BadDataset: 0xC000,
    FaultyElement: 0xC001,
    DatasetTooLarge: 0xC002,
    DuplicateRefused: 0xC010,
    RejectedByUs: 0xC020,
    MalformedUid: 0x0117,
    SopClassNotSupported: SOP_CLASS_NOT_SUPPORTED,
    NotAllowed: 0x0124,
    InvalidQuery: 0xC021,
    UnknownDestination: 0xC022,
}

FIND: Table = {
    **_NOT_EXPECTED,
    PacsNodeError: 0xC001,
    ConfigError: 0xC001,
    NodeRunning: 0xC001,
    JobRunning: 0xC001,
    AuditFailure: 0xC001,
    CannotListen: 0xC001,
    BackupFailure: 0xC001,
    BackupDamaged: 0xC001,
    NotInBackup: 0xC001,
    StudyHeld: 0xC001,
    StudyNotKept: 0xC001,
    StoreFull: 0xA700,
    StoreError: 0xA700,
    ObjectNotFound: 0xA700,
    ObjectDamaged: 0xA700,
    ObjectUnreadable: 0xA700,
    IndexFailure: 0xA700,
    IndexFull: 0xA700,
    QueryTooLong: 0xA700,
    InvalidQuery: 0xA900,
    UidMismatch: 0xA900,
    BadDataset: 0xA900,
    FaultyElement: 0xA900,
    DatasetTooLarge: 0xA900,
    MalformedUid: 0xA900,
    RejectedByUs: 0xC002,
    DuplicateRefused: 0xC002,
    UnknownDestination: 0xC002,
    SopClassNotSupported: SOP_CLASS_NOT_SUPPORTED,
    NotAllowed: 0x0124,
}

RETRIEVE: Table = {
    **FIND,
    IndexFailure: 0xA701,
    IndexFull: 0xA701,
    QueryTooLong: 0xA701,
    StoreFull: 0xA702,
    StoreError: 0xA702,
    ObjectNotFound: 0xA702,
    ObjectDamaged: 0xA702,
    ObjectUnreadable: 0xA702,
    PeerFailure: 0xA702,
    PeerSilent: 0xA702,
    UnknownDestination: 0xA801,
}
"""C-MOVE and C-GET."""

COMMIT: Table = {
    PacsNodeError: 0x0110,
    IndexFailure: RESOURCE_LIMITATION,
    BadDataset: 0x0115,
    NotAllowed: 0x0124,
}
"""N-ACTION of Storage Commitment (PS3.7 10.1.4.1.10)."""

REPORT: Table = {
    PacsNodeError: PROCESSING_FAILURE,
    IndexFailure: PROCESSING_FAILURE,
    BadDataset: INVALID_ARGUMENT_VALUE,
    NotAllowed: 0x0124,
}
"""N-EVENT-REPORT of Storage Commitment (PS3.7 10.1.1.1.8)."""

ECHO: Table = {NotAllowed: 0x0124}


@dataclass(frozen=True, slots=True)
class Row:
    """A status that a service may answer with. ``error`` is the cause; None where it is no failure of ours or theirs
    that the tables above know."""

    code: int
    meaning: str
    error: type[PacsNodeError] | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """All statuses of a service as SCP: what it says by itself, and what it answers errors with.

    ``impossible``: errors that the table has for completeness, but that cannot come up in this service, or end the
    association instead of being answered.
    """

    name: str
    said: Mapping[int, str]
    errors: Table
    impossible: frozenset[type[PacsNodeError]] = frozenset()

    def rows(self) -> Iterator[Row]:
        """Every status with what it means, in ascending order of the codes."""
        said = [Row(code, meaning) for code, meaning in self.said.items()]
        answered = [
            Row(code, inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0], kind)
            for kind, code in self.errors.items()
            if kind not in self.impossible
        ]
        return iter(sorted([*said, *answered], key=lambda row: row.code))


_ENDS_THE_ASSOCIATION = frozenset(_NOT_EXPECTED)
_OF_THE_STORE = frozenset({StoreFull, StoreError, ObjectNotFound, ObjectDamaged, ObjectUnreadable})
_OF_A_DATA_SET = frozenset({BadDataset, UidMismatch, MalformedUid, DuplicateRefused})
_OF_A_QUERY = frozenset({InvalidQuery, UnknownDestination})
_NEVER_AS_SUCH = frozenset({RejectedByUs})  # only classes derived from it are raised

_RETRIEVED: Mapping[int, str] = MappingProxyType({
    SUCCESS: "All sub-operations are over, all with Success; or nothing matched.",
    PENDING: "Sub-operations go on; with the numbers of all four kinds.",
    SUBOPERATIONS_INCOMPLETE: "All sub-operations are over; some failed or had warnings. What failed is in Failed SOP "
    "Instance UID List.",
    UNABLE_TO_PERFORM_SUBOPERATIONS: "All sub-operations failed. What failed is in Failed SOP Instance UID List.",
    CANCEL: "The requester cancelled; with the numbers of all four kinds.",
})  # fmt: skip

SERVICES: tuple[Service, ...] = (
    Service("C-ECHO", {SUCCESS: "The node is here."}, ECHO),
    Service(
        "C-STORE",
        {
            SUCCESS: "Data set, file name and index row are on the disk; or the same instance was there already.",
            SOP_CLASS_NOT_SUPPORTED: "The SOP class is not that of the presentation context.",
        },
        STORE,
        _ENDS_THE_ASSOCIATION | _OF_A_QUERY | _NEVER_AS_SUCH,
    ),
    Service(
        "C-FIND",
        {
            SUCCESS: "All matches have been told.",
            PENDING: "A match; all keys of the identifier are supported.",
            PENDING_WITHOUT_OPTIONAL_KEYS: "A match; some keys of the identifier are not supported: they were neither "
            "matched nor answered.",
            CANCEL: "The requester cancelled.",
            OUT_OF_RESOURCES: "There are more matches than one query may have; those told so far are right.",
        },
        FIND,
        _ENDS_THE_ASSOCIATION | _OF_THE_STORE | _OF_A_DATA_SET | _NEVER_AS_SUCH | {UnknownDestination},
    ),
    Service(
        "C-MOVE",
        _RETRIEVED,
        RETRIEVE,
        _ENDS_THE_ASSOCIATION | _OF_THE_STORE | _OF_A_DATA_SET | _NEVER_AS_SUCH,
    ),
    Service(
        "C-GET",
        _RETRIEVED,
        RETRIEVE,
        _ENDS_THE_ASSOCIATION | _OF_THE_STORE | _OF_A_DATA_SET | _NEVER_AS_SUCH | {UnknownDestination},
    ),
    Service(
        "N-ACTION",
        {
            SUCCESS: "The request is on the disk; the report follows as N-EVENT-REPORT.",
            NO_SUCH_SOP_CLASS: "Not the SOP class of Storage Commitment, not that of the presentation context, or one "
            "of which the requester is not SCU.",
            NO_SUCH_SOP_INSTANCE: "Not the well-known SOP instance of Storage Commitment.",
            NO_SUCH_ACTION: "The action type is not 1, Request Storage Commitment.",
        },
        COMMIT,
        frozenset({PacsNodeError}),
    ),
    Service(
        "N-EVENT-REPORT",
        {
            SUCCESS: "What is reported is on the disk.",
            NO_SUCH_SOP_CLASS: "Not the SOP class of Storage Commitment, not that of the presentation context, or one "
            "of which the requester is not SCP.",
            NO_SUCH_SOP_INSTANCE: "Not the well-known SOP instance of Storage Commitment.",
            NO_SUCH_EVENT_TYPE: "The event type is neither 1 (all committed) nor 2 (failures exist).",
            INVALID_ARGUMENT_VALUE: "The Transaction UID is not that of a request of this node.",
            RESOURCE_LIMITATION: "The report is longer than `identifier` in `[limits]`.",
        },
        REPORT,
        frozenset({PacsNodeError}),
    ),
    Service("Other operations", {UNRECOGNIZED_OPERATION: "A DIMSE-N operation that no service here has."}, {}),
)
"""What the conformance statement says of statuses; a test insists that the services answer nothing else."""

_COMMENT_CHARACTERS = 64  # VR LO of Error Comment (0000,0902)


def of(table: Table, error: PacsNodeError) -> int:
    """The status for an error: that of its class, else of the nearest ancestor."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def comment(error: PacsNodeError) -> str:
    """Error Comment for an error: what the peer did wrong, in its own terms; of our troubles no more than that."""
    words = str(error) if isinstance(error, RejectedByUs) else "the archive cannot do this now"
    if isinstance(error, QueryTooLong):
        words = "this takes too long here; ask for less"
    one_line = " ".join(words.encode("ascii", "replace").decode("ascii").split())
    return one_line[:_COMMENT_CHARACTERS]


def is_warning(code: int) -> bool:
    """Warning statuses of PS3.7 Annex C."""
    return code in (0x0001, 0x0107, 0x0116) or code & 0xF000 == 0xB000
