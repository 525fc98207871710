"""Every error of ours. The tree answers two questions: whose fault is it, and may it be tried again."""

from __future__ import annotations


class PacsNodeError(Exception):
    """What all errors of pacsnode have in common. The text is one line for people, without patient data."""


class ConfigError(PacsNodeError):
    """The configuration is wrong: names file, table, key, value and what is allowed."""


class NodeRunning(PacsNodeError):
    """Somebody else holds the data folder; trying again later may work."""


class JobRunning(NodeRunning):
    """The job is running already; trying again later may work."""


class CannotListen(PacsNodeError):
    """An address that is taken, or not of this machine."""


class RejectedByUs(PacsNodeError):
    """The peer's request is wrong; sending the same again will fail again."""


class BadDataset(RejectedByUs):
    """A data set that cannot be read to its exact end, or lacks what an instance must have."""


class DatasetTooLarge(BadDataset):
    """A data set beyond what we take: of bytes, of elements, of sequences in each other."""


class FaultyElement(BadDataset):
    """An element of the data set that is missing where it has to be, or of no use."""

    def __init__(self, message: str, *, tag: int) -> None:
        """``tag`` is the offending element of the data set."""
        super().__init__(message)
        self.tag = tag


class UidMismatch(FaultyElement):
    """The data set names another SOP class or instance than the command that brought it."""


class MalformedUid(RejectedByUs):
    """A SOP Instance UID that breaks PS3.5 9.1 in a way that matters."""


class DuplicateRefused(RejectedByUs):
    """The instance is here with other content, and the policy is to refuse."""


class InvalidQuery(RejectedByUs):
    """An identifier that the standard does not allow."""


class SopClassNotSupported(RejectedByUs):
    """A request for a SOP class that is not that of its presentation context, or has no such operation."""


class NotAllowed(RejectedByUs):
    """The peer may not do this here."""


class UnknownDestination(RejectedByUs):
    """A move destination that is not among the configured peers."""


class ProtocolViolation(PacsNodeError):
    """The peer's bytes break the upper layer or DIMSE protocol; the association cannot go on."""

    def __init__(self, message: str, *, reason: int = 0) -> None:
        """``reason`` is that of the A-ABORT we answer with (PS3.8 9.3.8, source 2)."""
        super().__init__(message)
        self.reason = reason


class StoreError(PacsNodeError):
    """Our storage failed; the peer may send again later."""


class ObjectNotFound(StoreError):
    """No object under this key."""


class StoreFull(StoreError):
    """Less free space than the configured minimum, or none at all."""


class ObjectDamaged(StoreError):
    """An object that is not what was stored: short, altered, or without a readable head."""


class ObjectUnreadable(ObjectDamaged):
    """The disk does not give an object back; perhaps it will another time."""


class StudyHeld(PacsNodeError):
    """A study under a legal hold, which nothing deletes."""


class StudyNotKept(PacsNodeError):
    """A study that is not stored here, or not in the trash (any more)."""


class CodecFailure(PacsNodeError):
    """Pixels that were not encoded or decoded; the object they are in is as it was."""


class CodecRefused(CodecFailure):
    """What this codec cannot do, or should not be asked for; the same again will be refused again."""


class CodecCrashed(CodecFailure):
    """The codec's process ended, or told of an error of its own."""


class CodecUnavailable(CodecFailure):
    """No codec process can be had now, such as for want of memory: it says nothing of the pixels."""


class CodecTooSlow(CodecFailure):
    """The codec did not answer in the time it has."""


class CodecTooLarge(CodecFailure):
    """The codec wanted more memory than it may have."""


class CodecMismatch(CodecFailure):
    """What was encoded does not decode to what it was made of, or something besides the pixels is not the same."""


class IndexFailure(PacsNodeError):
    """The index cannot answer or keep a row; the peer may try again later."""


class IndexFull(IndexFailure):
    """The index found no room for what was to be written."""


class QueryTooLong(IndexFailure):
    """The index would need longer for a query than it may; one that asks for less may be answered."""


class AuditFailure(PacsNodeError):
    """The audit trail cannot be read or written."""


class PeerFailure(PacsNodeError):
    """The remote node refused, vanished or ran into a deadline."""


class PeerSilent(PeerFailure):
    """The remote node is there, as far as we know, but says nothing in the time it has."""


class BackupFailure(PacsNodeError):
    """The backup cannot be written or read now; what is stored here is not concerned."""


class NotInBackup(BackupFailure):
    """Nothing of this name is in the backup."""


class BackupDamaged(BackupFailure):
    """Something in the backup is not what was put there."""
