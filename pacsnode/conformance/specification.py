"""Of the conformance statement: what the application entity does over the network (PS3.2 Annex A.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pacsnode.codec.codecs import FAMILIES
from pacsnode.config import duration_text, size_text
from pacsnode.conformance.claims import OTHER, Claims, StatusClaim
from pacsnode.conformance.keys import Key, Matching
from pacsnode.conformance.markdown import code, items, table
from pacsnode.dicom import part10
from pacsnode.dicom.coding import tag_name
from pacsnode.dicom.condition import MAX_VALUES
from pacsnode.dicom.identifier import MAX_FAILED_UIDS, Root
from pacsnode.dimse import contexts, negotiation, status
from pacsnode.dimse.find import RESPONSES_PER_SEND
from pacsnode.dimse.retrieve import PENDING_INSTANCES, PENDING_SECONDS

_ROOTS: Mapping[Root, str] = MappingProxyType(
    {Root.PATIENT: "Patient Root", Root.STUDY: "Study Root", Root.PATIENT_STUDY_ONLY: "Patient/Study Only"}
)
_REQUIREMENTS = "U unique, R required, O optional (PS3.4 C.2.2.1)"
_MATCHING: Mapping[Matching, str] = MappingProxyType({
    Matching.SINGLE: "S",
    Matching.UNIVERSAL: "U",
    Matching.UIDS: "L",
    Matching.WILDCARD: "W",
    Matching.RANGE: "R",
    Matching.SEQUENCE: "Q",
    Matching.ANY_OF: "A",
})  # fmt: skip


def lines(claims: Claims) -> list[str]:
    """Section 4."""
    parts = (_sop_classes, _policies, _initiation, _acceptance, _storage, _query, _retrieve, _commitment)
    return ["## 4 AE specification", "", *(line for part in parts for line in part(claims))]


def _sop_classes(claims: Claims) -> list[str]:
    lists = dict.fromkeys(one.transfer_syntaxes for one in claims.sop_classes)
    names = {syntaxes: f"T{number}" for number, syntaxes in enumerate(lists, 1)}
    rows = [
        (one.name, code(one.uid), one.service, names[one.transfer_syntaxes], "SCP, SCU" if one.is_scu else "SCP")
        for one in claims.sop_classes
    ]
    found = [
        "### 4.1 SOP classes",
        "",
        f"{len(rows)} SOP classes, each in every transfer syntax of its list.",
        "",
        *table(("SOP class", "UID", "service", "transfer syntaxes", "our role"), rows),
        "### 4.2 Transfer syntaxes",
        "",
        "In the order of preference: of those that a presentation context proposes, the first one is accepted.",
        "",
    ]
    for syntaxes, name in names.items():
        listed = [(str(number), contexts.name_of(uid), code(uid)) for number, uid in enumerate(syntaxes, 1)]
        found += [f"List {name}:", "", *table(("", "transfer syntax", "UID"), listed)]
    return found


def _policies(claims: Claims) -> list[str]:
    limits = claims.config.limits
    extended = ", ".join(f"{code(uid)}: {answer.hex(' ')}" for uid, answer in claims.extended.items())
    return [
        "### 4.3 Association policies",
        "",
        *table(
            ("", ""),
            (
                ("Application context", code(negotiation.APPLICATION_CONTEXT)),
                ("Maximum Length of PDUs that is announced", size_text(limits.pdu)),
                ("Length of a PDU beyond which an association is aborted", size_text(limits.pdu_hard_cap)),
                ("Associations at a time that are accepted", str(limits.associations)),
                ("… of one calling AE title", str(limits.associations_per_peer)),
                ("… from one IP address", str(limits.associations_per_address or "no limit of its own")),
                ("Time without any message after which an association is aborted", duration_text(limits.idle)),
                ("Asynchronous operations", "none: a window of 1,1 is answered where one is proposed"),
                ("Implementation Class UID", code(part10.IMPLEMENTATION_CLASS_UID)),
                ("Implementation Version Name", code(part10.IMPLEMENTATION_VERSION_NAME)),
                ("Role selection (PS3.7 D.3.3.4)", "answered for the SOP classes with both roles"),
                ("SOP Class Extended Negotiation (PS3.7 D.3.3.5)", extended or "none; the item is skipped"),
                ("SOP Class Common Extended Negotiation, user identity", "none; the items are skipped"),
            ),
        ),
    ]  # fmt: skip


def _initiation(claims: Claims) -> list[str]:
    limits = claims.config.limits
    return [
        "### 4.4 Association initiation policy",
        "",
        "**Sub-operations of C-MOVE.** One association after the other to a destination, or as many at a time as",
        "`associations` of the peer says. Proposed are exactly the pairs of SOP class and transfer syntax that are to",
        "be sent, and after them Explicit and Implicit VR Little Endian for those that can be converted to them, each",
        "in a presentation context of its own, at most 128 to an association. Instances are sent in the transfer",
        "syntax in which they are stored. Where the peer does not accept it, native ones (big endian and deflated,",
        "too) and those in the syntaxes below go in Explicit, else in Implicit VR Little Endian: pixels decoded, every",
        "other element as it is, but for a Photometric Interpretation that compressed pixels alone may have. What else",
        "the peer does not accept, and what cannot be decoded, has failed.",
        "",
        "Decoded are:",
        "",
        *(f"* {contexts.name_of(uid)}, {code(uid)}" for uid in sorted(FAMILIES)),
        "",
        "**Reports of storage commitments.** Storage Commitment Push Model in Implicit and Explicit VR Little Endian;",
        "role selection makes us its SCP. The calling AE title is the one that was called with the request.",
        "",
        "**Requests for storage commitment.** The same presentation contexts in the default role. The association",
        "stays open while no report has come on it, for "
        f"{duration_text(claims.config.commitment.same_association_wait)}.",
        "",
        f"A connection has {duration_text(limits.connect)} to come about, a response {duration_text(limits.response)}.",
        "Of a C-STORE-RSP, Success counts as completed, a warning (0001, 0107, 0116, Bxxx) as warning, all else as",
        "failed. An N-EVENT-REPORT-RSP with Success or a warning says that the report was taken; after any other it is",
        "tried again.",
        "",
    ]


def _acceptance(claims: Claims) -> list[str]:
    config = claims.config
    access = [f"Unknown peers: {config.access.unknown_peers.value}."]
    access += [
        f"{listener}: unknown peers are {'accepted' if config.accepts_unknown_peers(listener) else 'rejected'}."
        for listener in config.node.listen
    ]
    titles = ", ".join(map(code, (config.node.ae_title, *config.node.aliases)))
    called = f"has to be one of {titles}" if config.access.match_called_ae else "may be anything"
    rejections = [
        (f"{one.result},{one.source},{one.reason}", one.words, text) for one, text in claims.rejections.items()
    ]
    return [
        "### 4.5 Association acceptance policy",
        "",
        *items((f"The called AE title {called}.", *access, "Unknown peers that are accepted may do everything.")),
        "Associations are rejected so (result, source, reason of PS3.8 9.3.4):",
        "",
        *table(("rejection", "in the words of the standard", "when"), rejections),
        "A presentation context is accepted when its abstract syntax is in 4.1 and it proposes one of its transfer",
        "syntaxes. Several contexts of one abstract syntax are accepted independently.",
        "",
        "C-ECHO is answered with:",
        "",
        *_statuses(claims, "C-ECHO"),
        *_other_operations(claims),
    ]


def _other_operations(claims: Claims) -> list[str]:
    if not any(claim.service == OTHER for claim in claims.statuses):
        return ["A command that is not in this section ends the association (A-ABORT).", ""]
    return ["Operations that are not in this section are answered with:", "", *_statuses(claims, OTHER)]


def _storage(claims: Claims) -> list[str]:
    storage = claims.config.storage
    return [
        "### 4.6 Storage SCP",
        "",
        *items(
            (
                "Level 2 (Full) of PS3.4 B.4.1: all attributes are kept, private ones too; bit preserving (level 3 of "
                "digital signatures).",
                "No coercion: data sets are stored and sent exactly as they were received.",
                f"A data set may have {size_text(claims.config.limits.dataset)}.",
                "The same instance again, byte for byte, is kept once and answered with Success.",
                f"Other content under a known SOP Instance UID, {code(storage.duplicates.value)}: "
                + _DUPLICATES[storage.duplicates.value],
                f"With less than {size_text(storage.min_free)} of free space C-STORE is refused (A700); nothing else.",
            )
        ),
        *_statuses(claims, "C-STORE"),
        "What may be tried again is answered A7xx, what may not 01xx, A9xx or Cxxx. An instance that was not answered",
        "with Success leaves nothing behind.",
        "",
    ]


_DUPLICATES: Mapping[str, str] = MappingProxyType({
    "version": "both are kept; queries and retrieves give the newer one.",
    "first": "the first is kept, the other one is dropped and answered with Success.",
    "reject": "the other one is refused.",
})  # fmt: skip


def _query(claims: Claims) -> list[str]:
    limit = claims.config.limits.results
    found = [
        "### 4.7 Query SCP",
        "",
        *items(
            (
                "Hierarchical and relational: unique keys of the levels above may be missing, and keys of the levels "
                "above may be asked for and matched.",
                "Several values in one key: any of them.",
                f"Matches of one query: {limit or 'no limit'}; values of one key: {MAX_VALUES}; identifier: "
                f"{size_text(claims.config.limits.identifier)}.",
                "Person names are compared without regard to case, accents, width and kind of kana, each component "
                "group by itself; all other text exactly.",
                "Dates and times are matched independently of each other, and as one where that was negotiated.",
                "A required key that is empty in the archive matches any value (C.2.2.1.2), unless `match_unknown` of "
                "the peer says otherwise.",
                "Responses have Query/Retrieve Level, Retrieve AE Title and the unique keys of the levels above; "
                "Instance Availability, where it is asked for, is ONLINE.",
                "Keys that are not listed are not matched; pending responses then are FF01. "
                + (
                    "They are answered from an object of the match."
                    if claims.config.find.read_headers
                    else "They are not answered either."
                ),
                f"C-CANCEL is looked for every {RESPONSES_PER_SEND} responses.",
            )
        ),
        *_statuses(claims, "C-FIND"),
        f"Keys: {_REQUIREMENTS}. Matching: "
        + ", ".join(f"{letter} {kind.value}" for kind, letter in _MATCHING.items())
        + ".",
        "",
    ]
    for root, name in _ROOTS.items():
        for level in root.levels:
            listed = [key for key in claims.keys if key.root is root and key.level is level]
            found += [f"{name}, level {level.value}:", "", *_keys(listed)]
    return found


def _keys(listed: Iterable[Key]) -> list[str]:
    rows = [
        (
            key.name,
            tag_name(key.attribute.tag),
            key.attribute.vr,
            key.requirement.value,
            " ".join(letter for kind, letter in _MATCHING.items() if kind in key.matching),
        )
        for key in listed
    ]
    return table(("attribute", "tag", "VR", "key", "matching"), rows)


def _retrieve(claims: Claims) -> list[str]:
    return [
        "### 4.8 Retrieve SCP",
        "",
        *items(
            (
                "The identifier has the unique key of its level: a list of UIDs, but one value of Patient ID. "
                "Those of the levels above may be missing. Other keys have to be empty.",
                "C-MOVE goes to configured peers only, on associations of its own; C-GET to SOP classes for which role "
                "selection made the requester SCP.",
                "Instances are sent in the transfer syntax they are stored in, where that is not accepted in Explicit "
                "or Implicit VR Little Endian: native ones, and compressed ones of the syntaxes in 4.4.",
                f"Pending responses come after the first instance, then every {PENDING_INSTANCES} instances or every "
                f"{duration_text(PENDING_SECONDS)}.",
                "Move Originator AE title and Message ID are those of the C-MOVE; the priority is passed on.",
                f"Failed SOP Instance UID List has the first {MAX_FAILED_UIDS} UIDs.",
                "A cancelled retrieve ends after the sub-operation under way.",
            )
        ),
        "C-MOVE:",
        "",
        *_statuses(claims, "C-MOVE"),
        "C-GET:",
        "",
        *_statuses(claims, "C-GET"),
    ]


def _commitment(claims: Claims) -> list[str]:
    settings = claims.config.commitment
    reasons = [(f"{reason:04X}", meaning) for reason, meaning in claims.failure_reasons.items()]
    return [
        "### 4.9 Storage Commitment SCP",
        "",
        "Push Model (PS3.4 Annex J). As PS3.4 J.3.6.2.1 asks:",
        "",
        *items(
            (
                "Committed is what was read again from its first byte to its last: SHA-256 and structure are those of "
                "reception. The instances need not come from the requester.",
                "Retention: without end. pacsnode deletes nothing by itself, and has no command that does.",
                "Capacity: that of the file system; see Storage SCP for when it is exhausted. What is committed is "
                "not affected.",
                "Availability: ONLINE, at once.",
                f"Requests at a time that are not reported yet: {settings.transactions}; kept across restarts.",
                "The report comes on the association of the request within "
                f"{duration_text(settings.same_association_wait)}, else on a new one to the configured peer.",
                f"It is tried again for {duration_text(settings.retry_for)}, first after "
                f"{duration_text(settings.first_retry)}, later each time.",
                "A peer may hear the same report twice. The optional Storage Media attributes are not used.",
            )
        ),
        *_statuses(claims, "N-ACTION"),
        "Event types 1 (all committed) and 2 (failures exist). Failure reasons:",
        "",
        *table(("reason", "meaning"), reasons),
        "### 4.10 Storage Commitment SCU",
        "",
        "Push Model, at an operator's request: for all instances of a study, at most 2000 to a transaction, of a",
        "configured peer. What it reports of each instance is kept. The report comes on the association of the",
        "request, or on one that the peer opens, SCP by role selection and under the AE title that was asked:",
        "",
        *_statuses(claims, "N-EVENT-REPORT"),
    ]


def _statuses(claims: Claims, service: str) -> list[str]:
    rows = [
        (f"{claim.code:04X}", kind_of(claim), " ".join(claim.meanings))
        for claim in claims.statuses
        if claim.service == service
    ]
    return table(("status", "class", "meaning"), rows)


def kind_of(claim: StatusClaim) -> str:
    """The class of the status (PS3.7 Annex C)."""
    if claim.code in _CLASSES:
        return _CLASSES[claim.code]
    return "Warning" if status.is_warning(claim.code) else "Failure"


_CLASSES: Mapping[int, str] = MappingProxyType({
    status.SUCCESS: "Success",
    status.PENDING: "Pending",
    status.PENDING_WITHOUT_OPTIONAL_KEYS: "Pending",
    status.CANCEL: "Cancel",
})  # fmt: skip
