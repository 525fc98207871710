"""The order to run a job, given to the running node through its control socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from pacsnode.errors import JobRunning, PacsNodeError
from pacsnode.jobs.runner import Runner

_TELL_SECONDS = 0.5


class JobOrder:
    """Runs a job by hand: tells how far it is every now and then, and ends with its report, or an error."""

    def __init__(self, runner: Runner, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._runner = runner
        self._monotonic = monotonic

    def __call__(self, order: Mapping[str, object], tell: Callable[[dict[str, object]], None]) -> None:
        """``tell`` raises OSError where nobody listens any more: then the run ends between two items."""
        name = str(order.get("name"))
        if name not in self._runner.duties:
            tell({"error": f"this node has no job {name}", "is_temporary": False})
            return
        gone = threading.Event()
        told_at = self._monotonic()

        def watch(done: int, total: int | None) -> None:
            nonlocal told_at
            if self._monotonic() - told_at < _TELL_SECONDS:
                return
            told_at = self._monotonic()
            try:
                tell({"done": done, "total": total})
            except OSError:
                gone.set()

        try:
            report = self._runner.run_by_hand(name, watch, gone.is_set)
        except PacsNodeError as error:
            tell({"error": str(error), "is_temporary": isinstance(error, JobRunning)})
        else:
            tell({"report": asdict(report)})
