"""Which message stands for what happened (PS3.15 A.5.3). Pure; codes are those of PS3.16 CID 400-405."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pacsnode.audit.messages import Action, Code, Message, Outcome, Participant, Subject
from pacsnode.model import Instance

_ACTIVITY = Code("110100", "Application Activity")
_LOG_USED = Code("110101", "Audit Log Used")
_BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
_DELETED = Code("110105", "DICOM Study Deleted")
_EXPORT = Code("110106", "Export")
_IMPORT = Code("110107", "Import")
_QUERY = Code("110112", "Query")
_ALERT = Code("110113", "Security Alert")
_AUTHENTICATION = Code("110114", "User Authentication")
_START, _STOP = Code("110120", "Application Start"), Code("110121", "Application Stop")
_LOGIN = Code("110122", "Login")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
DAMAGE = Code("damage", "Stored Object Damaged", "99PACSNODE")  # CID 403 has none that fits, and may be extended
RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")
_APPLICATION, _LAUNCHER = Code("110150", "Application"), Code("110151", "Application Launcher")
_DESTINATION, _SOURCE = Code("110152", "Destination Role ID"), Code("110153", "Source Role ID")
_DESTINATION_MEDIA, _SOURCE_MEDIA = Code("110154", "Destination Media"), Code("110155", "Source Media")
_URI_MEDIA = Code("110037", "URI")
_STUDY_UID = Code("110180", "Study Instance UID")
_SOP_CLASS_UID = Code("110181", "SOP Class UID")
_NODE_ID = Code("110182", "Node ID")
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
_URI = Code("12", "URI", "RFC-3881")

_PERSON, _SYSTEM_OBJECT = 1, 2
_PATIENT_ROLE, _REPORT_ROLE, _SECURITY_RESOURCE_ROLE = 1, 3, 13
_MAX_QUERY_BYTES = 16 * 1024  # a message has to fit the 32 KiB that every collector takes (PS3.15 A.6)


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody at a node: its AE title, its address, and the user that was named there, if any."""

    ae_title: str
    address: str = ""
    user: str = ""

    def takes_part(self, *roles: Code, is_requestor: bool = False) -> Participant:
        """The actor as a participant; without a user the AE title stands for who it is."""
        return Participant(
            self.user or self.ae_title,
            (self.ae_title,),
            address=self.address,
            is_requestor=is_requestor,
            roles=roles,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Some instances of one study: how many, by SOP class."""

    patient_id: str
    study_uid: str
    instances: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Result:
    """How it went; ``description`` is for people and has no patient data."""

    outcome: Outcome = Outcome.SUCCESS
    description: str = ""
    types: tuple[Code, ...] = ()


SUCCESS = Result()


def parts_of(instances: Sequence[Instance]) -> list[Part]:
    """What is told of instances: how many, by patient, study and class."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for header in (instance.header for instance in instances):
        classes = counts.setdefault((header.patient_id, header.study_instance_uid), Counter())
        classes[header.sop_class_uid] += 1
    return [Part(patient_id, study_uid, classes) for (patient_id, study_uid), classes in counts.items()]


@dataclass(frozen=True, slots=True)
class Narrator:
    """This node, telling what happened at a time."""

    ae_title: str
    person: str = ""  # who runs the process, for the commands

    def started(self, at: datetime) -> Message:
        """The node starts (A.5.3.1)."""
        return self._message(_ACTIVITY, Action.EXECUTE, at, (self._process(_APPLICATION), *self._launcher()), _START)

    def stopped(self, at: datetime) -> Message:
        """The node stops (A.5.3.1)."""
        return self._message(_ACTIVITY, Action.EXECUTE, at, (self._process(_APPLICATION), *self._launcher()), _STOP)

    def log_used(self, at: datetime, log: str) -> Message:
        """Somebody reads the audit trail (A.5.3.2)."""
        subject = Subject(log, _URI, _SYSTEM_OBJECT, _SECURITY_RESOURCE_ROLE, name="Security Audit Log")
        return self._message(_LOG_USED, Action.READ, at, (self._operator(),), subjects=(subject,))

    def begins_transfer(self, at: datetime, requester: Actor, destination: Actor, part: Part) -> Message:
        """We begin to send instances of a study (A.5.3.3)."""
        people = self._sending(requester, destination)
        return self._message(_BEGIN_TRANSFERRING, Action.EXECUTE, at, people, subjects=_subjects(part))

    def sent(self, at: datetime, requester: Actor, destination: Actor, part: Part, result: Result) -> Message:
        """Instances of a study went to another node, or should have (A.5.3.7)."""
        people = self._sending(requester, destination)
        return self._message(_TRANSFERRED, Action.READ, at, people, subjects=_subjects(part), result=result)

    def received(self, at: datetime, sender: Actor, part: Part, action: Action, result: Result) -> Message:
        """Instances of a study came from another node, or should have (A.5.3.7)."""
        people = (sender.takes_part(_SOURCE, is_requestor=True), self._process(_DESTINATION))
        return self._message(_TRANSFERRED, action, at, people, subjects=_subjects(part), result=result)

    def imported(self, at: datetime, media: Sequence[str], part: Part, action: Action, result: Result) -> Message:
        """Instances of a study came from files (A.5.3.10)."""
        origin = Participant("; ".join(media), roles=(_SOURCE_MEDIA,), medium=_URI_MEDIA)
        people = (self._operator(_DESTINATION), origin)
        return self._message(_IMPORT, action, at, people, subjects=_subjects(part), result=result)

    def exported(self, at: datetime, folder: str, part: Part, result: Result) -> Message:
        """Instances of a study were written to files (A.5.3.9)."""
        target = Participant(folder, roles=(_DESTINATION_MEDIA,), medium=_URI_MEDIA)
        people = (self._operator(_SOURCE), target)
        return self._message(_EXPORT, Action.READ, at, people, subjects=_subjects(part), result=result)

    def deleted(self, at: datetime, part: Part, result: Result, who: str = "") -> Message:
        """A study was removed; the reason is the result's description (A.5.3.8). ``who``: not that of the process."""
        people = (replace(self, person=who or self.person).operator(),)
        return self._message(_DELETED, Action.DELETE, at, people, subjects=_subjects(part, 14), result=result)

    def queried(
        self, at: datetime, who: Actor, *, sop_class: str, syntax: str, identifier: bytes, result: Result
    ) -> Message:
        """Somebody asked what is here (A.5.3.11); of an identifier beyond 16 KiB the beginning is told."""
        subject = Subject(
            sop_class,
            _SOP_CLASS_UID,
            _SYSTEM_OBJECT,
            _REPORT_ROLE,
            query=identifier[:_MAX_QUERY_BYTES],
            details=(("TransferSyntax", syntax.encode("utf-8")),),
        )
        people = (who.takes_part(_SOURCE, is_requestor=True), self._process(_DESTINATION))
        return self._message(_QUERY, Action.EXECUTE, at, people, subjects=(subject,), result=result)

    def alerted(self, at: datetime, kind: Code, culprit: Participant, node: str, result: Result) -> Message:
        """Somebody tried what may not be, or changed what is guarded (A.5.3.12); ``node`` is what it was about."""
        subject = Subject(
            node,
            _NODE_ID,
            _SYSTEM_OBJECT,
            _SECURITY_RESOURCE_ROLE,
            details=(("Alert Description", result.description.encode("utf-8")),),
        )
        people = (self._process(), culprit)
        return self._message(_ALERT, Action.EXECUTE, at, people, kind, subjects=(subject,), result=result)

    def authenticated(self, at: datetime, who: Actor, result: Result) -> Message:
        """A user of a peer said who it is (A.5.3.13)."""
        people = (who.takes_part(is_requestor=True), self._process())
        return self._message(_AUTHENTICATION, Action.EXECUTE, at, people, _LOGIN, result=result)

    def operator(self) -> Participant:
        """Who runs the command, or the process itself."""
        return self._operator()

    def _message(
        self,
        event: Code,
        action: Action,
        at: datetime,
        people: tuple[Participant, ...],
        *types: Code,
        subjects: tuple[Subject, ...] = (),
        result: Result = SUCCESS,
    ) -> Message:
        return Message(
            event,
            action,
            at,
            self.ae_title,
            people,
            subjects,
            result.outcome,
            result.description,
            types + result.types,
        )

    def _process(self, *roles: Code) -> Participant:
        return Participant(str(os.getpid()), (self.ae_title,), name="pacsnode", roles=roles)

    def _launcher(self) -> tuple[Participant, ...]:
        return (Participant(self.person, is_requestor=True, roles=(_LAUNCHER,)),) if self.person else ()

    def _operator(self, *roles: Code) -> Participant:
        return Participant(
            self.person or str(os.getpid()), (self.ae_title,), name="pacsnode", is_requestor=True, roles=roles
        )

    def _sending(self, requester: Actor, destination: Actor) -> tuple[Participant, ...]:
        if destination == requester:
            return self._process(_SOURCE), destination.takes_part(_DESTINATION, is_requestor=True)
        others = (destination.takes_part(_DESTINATION), requester.takes_part(is_requestor=True))
        return self._process(_SOURCE), *others


def _subjects(part: Part, life_cycle: int | None = None) -> tuple[Subject, ...]:
    """Study and patient; names are not told, since IDs do for finding them. A study that is not known is left out."""
    study = Subject(
        part.study_uid, _STUDY_UID, _SYSTEM_OBJECT, _REPORT_ROLE, life_cycle=life_cycle, instances=part.instances
    )
    patient = Subject(part.patient_id, _PATIENT_NUMBER, _PERSON, _PATIENT_ROLE)
    if part.study_uid:
        return study, patient
    classes = tuple(
        Subject(uid, _SOP_CLASS_UID, _SYSTEM_OBJECT, _REPORT_ROLE, instances={uid: count})
        for uid, count in part.instances.items()
    )
    return (*classes, patient)
