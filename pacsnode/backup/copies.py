"""Where a damaged object can be had again: for whoever repairs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from pacsnode.backup.database import Knowledge
from pacsnode.backup.vault import Vault
from pacsnode.dicom import part10
from pacsnode.errors import BackupDamaged, NotInBackup, ObjectDamaged
from pacsnode.model import Instance, Uid

_IN_MEMORY_BYTES = 16 * 1024 * 1024


class BackupCopies:
    """The objects that are in the backup. Safe to use from several threads."""

    def __init__(self, knowledge: Knowledge, vault: Vault) -> None:
        self._knowledge = knowledge
        self._vault = vault

    def is_sound(self, instance: Instance, told: Callable[[int], None]) -> bool:
        """Is the object of the instance in the backup, read now to its last byte? ``told`` hears of what was read.

        What is damaged there is copied again by the next run. Raises BackupFailure where it cannot be read now.
        """
        for copied in self._knowledge.of_content(instance.stored.digest):
            if copied.key != instance.stored.key:
                continue
            if not self._vault.problem_of(copied.piece, told):
                return True
            self._knowledge.copy_again(copied.piece.digest)
        return False

    @contextmanager
    def fetch(self, uid: Uid, digest: str) -> Iterator[BinaryIO | None]:
        """The whole Part 10 object of the SOP instance whose data set has this SHA-256; None where there is none.

        What is given was compared with its digest. Raises BackupFailure where the backup cannot be read now.
        """
        for copied in self._knowledge.of_content(digest):
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(self._vault.scratch)) as whole:
                sink = cast(BinaryIO, whole)
                try:
                    self._vault.fetch(copied.piece, sink)
                    whole.seek(0)
                    if part10.read_head(sink).arrival.sop_instance_uid != uid:
                        continue
                except (BackupDamaged, NotInBackup, ObjectDamaged):
                    self._knowledge.copy_again(copied.piece.digest)
                    continue
                whole.seek(0)
                yield sink
                return
        yield None
