"""One run over what is due: attempts in batches, refusals and cursor kept after each."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from pacsnode import log
from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec, codec_version
from pacsnode.compression.attempt import Attempts
from pacsnode.compression.candidates import Candidates
from pacsnode.compression.database import CompressionState, Progress, Refusal
from pacsnode.compression.policy import Policy
from pacsnode.compression.replacing import Encoded, Replacer
from pacsnode.compression.tally import Tally
from pacsnode.errors import (
    CodecCrashed,
    CodecFailure,
    CodecMismatch,
    CodecRefused,
    CodecTooLarge,
    CodecTooSlow,
    CodecUnavailable,
    ObjectDamaged,
    ObjectNotFound,
    PacsNodeError,
)
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.model import Instance

_BATCH = 32  # instances put in place together: their intentions, counts and the cursor are synced once
_PASSED_OVER = 5_000  # keys after which the cursor is kept where there was nothing to do
_PASS_AGAIN = timedelta(days=30)  # what was repaired behind the cursor is seen within this time


class Run:
    """One run, for ``report`` to be called once."""

    def __init__(
        self,
        archive: Archive,
        policy: Policy,
        state: CompressionState,
        attempts: Attempts,
        replacer: Replacer,
        budget: Budget,
    ) -> None:
        self._archive = archive
        self._candidates = Candidates(archive, policy)
        self._state = state
        self._attempts = attempts
        self._replacer = replacer
        self._budget = budget
        self._tally = Tally()
        self._batch: list[Encoded] = []
        self._refusals: list[Refusal] = []
        self._versions: dict[Codec, str] = {}  # reading one takes a millisecond
        self._progress = self._begun(policy.plan)

    def report(self) -> JobReport:
        """Do it. Raises StoreError, IndexFailure, CodecUnavailable."""
        self._replacer.settle(self._budget.expired)
        try:
            finished = self._look_at_all_or_end()
            if finished and self._archive.clock() - self._progress.began > _PASS_AGAIN:
                self._progress = replace(self._progress, cursor="", began=self._archive.clock())
            self._put_in_place()
        finally:
            for encoded in self._batch:
                encoded.upload.abort()
        return self._tally.report(finished=finished)

    def _begun(self, plan: str) -> Progress:
        """Where to go on; from the beginning where what was refused may be done otherwise by now."""
        kept = self._state.progress()
        return kept if kept is not None and kept.plan == plan else Progress("", plan, self._archive.clock())

    def _look_at_all_or_end(self) -> bool:
        try:
            return self._look_at_all()
        except CodecUnavailable:  # no instance is refused for it: the next run goes on with the one that it was
            self._put_in_place()
            raise

    def _look_at_all(self) -> bool:
        """Was there time for everything?"""
        for number, instance in enumerate(self._candidates.instances(self._progress.cursor), 1):
            if self._budget.expired():
                return False
            if (codec := self._candidates.codec_for(instance)) is not None:
                self._attempt(instance, codec)
            self._progress = replace(self._progress, cursor=instance.stored.key)
            if len(self._batch) == _BATCH or number % _PASSED_OVER == 0:
                self._put_in_place()
        return True

    def _attempt(self, instance: Instance, codec: Codec) -> None:
        """Into the batch, or among what is left alone."""
        stored, version = instance.stored, self._version(codec)
        known = self._state.refusal(stored.digest, codec.value)
        if known is not None and known.version == version:
            self._tally.left(known.reason)
            return
        try:
            self._batch.append(self._attempts.encode(instance, codec))
        except ObjectNotFound:
            return  # removed or replaced meanwhile
        except CodecUnavailable:
            raise
        except (CodecFailure, ObjectDamaged) as error:
            reason, has_failed = reason_of(error), not isinstance(error, CodecRefused)
            if has_failed:
                _complain(instance, codec, error)
            self._tally.left(reason, has_failed=has_failed)
            self._refusals.append(
                Refusal(stored.digest, codec.value, version, instance.header.modality, reason, stored.key)
            )
        self._budget.spend(stored.size)

    def _version(self, codec: Codec) -> str:
        if codec not in self._versions:
            self._versions[codec] = codec_version(codec)
        return self._versions[codec]

    def _put_in_place(self) -> None:
        batch, self._batch = self._batch, []
        try:
            for one in self._replacer.replace(batch):
                self._tally.gained(one.codec, one.modality, before=one.bytes_before, after=one.bytes_after)
        finally:
            for encoded in batch:
                encoded.upload.abort()
        self._state.keep(self._progress, self._refusals)
        self._refusals.clear()
        self._budget.advance(self._tally.seen, None)


def reason_of(error: PacsNodeError) -> str:
    """Why an instance is left alone, for people, in words of ours alone."""
    if isinstance(error, CodecRefused):
        return str(error)
    return next(text for kind, text in _REASONS.items() if isinstance(error, kind))


_REASONS: dict[type[PacsNodeError], str] = {
    CodecMismatch: "the codec does not give back what it was given",
    CodecTooSlow: "the codec took too long",
    CodecTooLarge: "the codec wanted too much memory",
    CodecCrashed: "the codec crashed",
    CodecFailure: "the codec failed",
    ObjectDamaged: "the object is damaged",
    ObjectNotFound: "the object is missing",
}


def _complain(instance: Instance, codec: Codec, error: PacsNodeError) -> None:
    log.event(
        "not_compressed",
        level=logging.WARNING,
        uid=instance.header.sop_instance_uid,
        key=instance.stored.key,
        codec=codec.value,
        reason=error,
    )
