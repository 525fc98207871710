"""The job: all keys in order of arrival, from where the last run ended up to the age that the policy says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Scratch
from pacsnode.codec.sandbox import Limits, Sandbox
from pacsnode.compression.attempt import Attempts
from pacsnode.compression.candidates import Candidates
from pacsnode.compression.database import STATE_FILE, CompressionState
from pacsnode.compression.policy import Policy
from pacsnode.compression.replacing import Replacer
from pacsnode.compression.run import Run, reason_of
from pacsnode.compression.tally import Tally
from pacsnode.errors import CodecFailure, CodecRefused, CodecUnavailable, ObjectDamaged, ObjectNotFound
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.model import Instance, Key

_SAMPLE = 200
_NICENESS = 10


def sandboxed() -> Sandbox:
    """One codec process at a time, which leaves the processor to whoever receives."""
    return Sandbox(1, Limits(niceness=_NICENESS))


MayGo = Callable[[Key], bool]
"""Is the original needed no more of the object with this new key?"""


@contextmanager
def may_go_at_once() -> Iterator[MayGo]:
    """It is not, as soon as the new object has taken its place."""
    yield lambda new: True


class CompressionJob:
    """See Job. It encodes, compares and replaces a batch at a time."""

    name = "compression"

    def __init__(
        self,
        archive: Archive,
        folder: Path,
        policy: Policy,
        *,
        scratch: Path | None = None,
        may_go: Callable[[], AbstractContextManager[MayGo]] = may_go_at_once,
        coder: Callable[[], Sandbox] = sandboxed,
    ) -> None:
        """``folder``: where the state file is. ``scratch``: where large images are for a moment, by default there, too.

        ``may_go`` opens what says, for one run, which originals are needed no more. ``coder``: what codecs run in.
        """
        self._archive = archive
        self._folder = folder
        self._scratch = Scratch(scratch or folder)
        self._policy = policy
        self._may_go = may_go
        self._coder = coder

    def run(self, budget: Budget) -> JobReport:
        """Compress what is due. Raises IndexFailure, StoreError, CodecUnavailable; then the next run goes on."""
        with ExitStack() as stack:
            state = stack.enter_context(closing(CompressionState(self._folder / STATE_FILE)))
            attempts = Attempts(self._archive, stack.enter_context(self._coder()), self._scratch)
            replacer = Replacer(self._archive, state, stack.enter_context(self._may_go()))
            return Run(self._archive, self._policy, state, attempts, replacer, budget).report()

    def rehearse(self, budget: Budget) -> JobReport:
        """Encode a random sample of what is old enough, and tell what compressing all of it would save."""
        candidates, tally = Candidates(self._archive, self._policy), Tally()
        sample, count = candidates.sample(_SAMPLE)
        looked_at = 0
        with self._coder() as coder:
            attempts = Attempts(self._archive, coder, self._scratch)
            for key in sample:
                if budget.expired():
                    break
                looked_at += 1
                instance = self._archive.index.at(key)
                if instance is not None and (codec := candidates.codec_for(instance)) is not None:
                    _rehearse_one(instance, codec, attempts, tally)
                    budget.spend(instance.stored.size)
                budget.advance(looked_at, len(sample))
        more = [
            ("instances old enough", count),
            ("instances in the sample", looked_at),
            ("estimated bytes saved", tally.saved * count // max(looked_at, 1)),
        ]
        return tally.report(finished=looked_at == len(sample), more=more)


def _rehearse_one(instance: Instance, codec: Codec, attempts: Attempts, tally: Tally) -> None:
    try:
        size = attempts.estimate(instance, codec)
    except CodecUnavailable:
        raise
    except (CodecFailure, ObjectDamaged, ObjectNotFound) as error:
        tally.left(reason_of(error), has_failed=not isinstance(error, CodecRefused))
    else:
        tally.gained(codec.value, instance.header.modality, before=instance.stored.size, after=size)
