"""The configuration of a running node, read anew: all of it is put in effect, or nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pacsnode import log
from pacsnode.config import Config, changed_keys
from pacsnode.errors import ConfigError, PacsNodeError
from pacsnode.service import systemd


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the node that takes another configuration while it runs.

    ``takes``: the tables, or single keys as ``"table.key"``, that it puts in effect. ``prepare`` checks a
    configuration, ConfigError where it cannot be used, and gives what puts it in effect, which cannot fail.
    """

    takes: Collection[str]
    prepare: Callable[[Config], Callable[[], None]]


class Reload:
    """Reads the configuration anew when it is called. Safe to use from several threads."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        parts: Collection[Part],
        *,
        told: Callable[[str], None] = lambda changed: None,
    ) -> None:
        """``config``: the one in effect. ``read``: the one to be; raises ConfigError. ``told`` hears which keys have
        changed."""
        self._config = config
        self._read = read
        self._parts = parts
        self._told = told
        self._lock = threading.Lock()

    @property
    def config(self) -> Config:
        """The configuration in effect."""
        return self._config

    def __call__(self) -> list[str]:
        """Put what is in the file in effect: the keys that changed. Raises ConfigError; then all is as it was."""
        with self._lock:
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                changed = self._reload()
            except PacsNodeError as error:
                log.event("reload_refused", level=logging.ERROR, reason=error)
                systemd.notify("READY=1", "STATUS=the configuration was refused, the old one stays: see the log")
                raise
            except Exception as error:
                log.crash("reload_crashed")
                systemd.notify("READY=1", "STATUS=the configuration was not read anew: see the log")
                raise ConfigError("a fault of ours, which the log tells the place of; the old one stays") from error
            log.event("reloaded", changed=",".join(changed) or "nothing")
            if changed:
                self._told(", ".join(changed))
            systemd.notify("READY=1", "STATUS=the configuration was read anew")
            return changed

    def _reload(self) -> list[str]:
        config = self._read()
        changed = changed_keys(self._config, config)
        taken = {name for part in self._parts for name in part.takes}
        if fixed := [key for key in changed if not _covers(taken, key)]:
            raise ConfigError(f"{', '.join(fixed)}: cannot change while the node runs; restart it, or change them back")
        effects = [part.prepare(config) for part in self._parts]
        for take_effect in effects:
            take_effect()
        self._config = config
        return changed


def _covers(taken: Collection[str], key: str) -> bool:
    return key in taken or key.partition(".")[0] in taken
