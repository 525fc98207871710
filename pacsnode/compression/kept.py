"""Damaged compressed objects made anew from the originals that are kept beside them: for whoever repairs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Scratch
from pacsnode.codec.sandbox import Sandbox
from pacsnode.compression import replacing
from pacsnode.compression.attempt import Attempts
from pacsnode.compression.database import STATE_FILE, CompressionState
from pacsnode.dicom import part10
from pacsnode.model import Instance, Key, Uid


class KeptOriginals:
    """Copies of objects of which the original is there; the sandbox is made for each."""

    def __init__(self, archive: Archive, folder: Path, scratch: Path, coder: Callable[[], Sandbox]) -> None:
        """``folder``: where the state file is. ``scratch``: where large images are for a moment."""
        self._archive = archive
        self._folder = folder
        self._scratch = Scratch(scratch)
        self._coder = coder

    @contextmanager
    def fetch(self, uid: Uid, digest: str) -> Iterator[BinaryIO | None]:
        """The whole object of the SOP instance whose data set had this SHA-256, if the codec makes the same of the
        original again; None where none is kept.

        Raises CodecFailure, ObjectDamaged, ObjectNotFound, StoreError, IndexFailure.
        """
        versions = self._archive.index.versions(uid)
        damaged = next((version for version in versions if version.stored.digest == digest), None)
        old = None if damaged is None else self._original_of(damaged.stored.key)
        if damaged is None or old is None:
            yield None
            return
        before = replace(damaged, stored=self._archive.store.info(old))
        with self._encoded(before, damaged.stored.transfer_syntax_uid, digest) as whole:
            yield whole

    def _original_of(self, new: Key) -> Key | None:
        if not (self._folder / STATE_FILE).exists():
            return None
        with closing(CompressionState(self._folder / STATE_FILE)) as state:
            return state.original_of(new)

    @contextmanager
    def _encoded(self, before: Instance, transfer_syntax_uid: Uid, digest: str) -> Iterator[BinaryIO]:
        codec = next(codec for codec in Codec if codec.transfer_syntax_uid == transfer_syntax_uid)
        head = part10.HeadTemplate(replacing.arrival_of(before, transfer_syntax_uid)).filled(digest)
        with self._coder() as coder, self._scratch.open() as whole:
            with Attempts(self._archive, coder, self._scratch).made(before, codec) as (made, _):
                whole.write(head)
                shutil.copyfileobj(made, whole)
            whole.seek(0)
            yield cast(BinaryIO, whole)
