"""systemd's watchdog (sd_watchdog_enabled(3)): it hears from us as long as the node does its work."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pacsnode import log
from pacsnode.service import systemd

_BEATS_IN_TIME = 3  # how often it is fed in the time that it has patience


@contextmanager
def feeding(check: Callable[[], str]) -> Iterator[None]:
    """While the block runs, tell systemd that we are well as often as ``check`` says so, by returning "".

    It returns what is wrong otherwise; one that never returns is a node that hangs, too. Without a watchdog nothing
    is checked.
    """
    seconds = _patience()
    if seconds is None:
        yield
        return
    stopping = threading.Event()
    thread = threading.Thread(
        target=_feed, args=(check, seconds / _BEATS_IN_TIME, stopping), name="watchdog", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()


def _patience() -> float | None:
    """After how many seconds of silence systemd restarts this process; None where it does not."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6


def _feed(check: Callable[[], str], seconds: float, stopping: threading.Event) -> None:
    while True:
        try:
            reason = check()
        except Exception:  # noqa: BLE001 - a check that fails is an answer
            if not stopping.is_set():
                log.crash("watchdog_unfed", reason="the check failed")
        else:
            if reason and not stopping.is_set():
                log.event("watchdog_unfed", level=logging.ERROR, reason=reason)
            elif not reason:
                systemd.notify("WATCHDOG=1")
        if stopping.wait(seconds):
            return
