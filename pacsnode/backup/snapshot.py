"""A snapshot in the making: copies of the node's databases of one moment, in the scratch folder until they are sent."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from pathlib import Path
from types import TracebackType

from pacsnode.backup import answers, chain
from pacsnode.backup.database import Knowledge
from pacsnode.backup.manifest import Piece, Snapshot, line_of
from pacsnode.backup.settings import Sources
from pacsnode.backup.vault import Vault
from pacsnode.index import schema
from pacsnode.index.snapshot import copy_of

CONFIG = "pacsnode.toml"
_COPY_BYTES = 1024 * 1024


class Drafts:
    """Used in a ``with`` block, at the end of which nothing of it is left in the scratch folder."""

    def __init__(self, vault: Vault, sources: Sources) -> None:
        self._vault = vault
        self._sources = sources
        self._drawn: dict[str, Path] = {}
        self._packed_files: list[Path] = []

    def __enter__(self) -> Drafts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in (*self._drawn.values(), *self._packed_files):
            path.unlink(missing_ok=True)

    def draw(self) -> None:
        """Copy the databases as they are now. Raises IndexFailure, also where the disk is full."""
        for source in (self._sources.index, *self._sources.state):
            if source.is_file():
                self._drawn[source.name] = draft = self._vault.scratch / f"{source.name}.snapshot"
                draft.unlink(missing_ok=True)
                copy_of(source, draft)

    def keep(self, knowledge: Knowledge) -> Snapshot:
        """Send them, with the list of all objects, and answers of the index to be compared with in a drill."""
        stem = f"snapshots/{int(knowledge.fact('number') or 0) + 1:010d}"
        index = self._drawn[self._sources.index.name]
        state = {
            name: self._packed(f"{stem}.*.{name}.gz", path)
            for name, path in self._drawn.items()
            if name != self._sources.index.name
        }
        if self._sources.config:
            state[CONFIG] = self._vault.keep(f"{stem}.*.{CONFIG}", io.BytesIO(self._sources.config.encode()))
        told = json.dumps(answers.recorded(index)).encode("ascii")
        return Snapshot(
            index=self._packed(f"{stem}.*.index.db.gz", index),
            objects=chain.keep_list(self._vault, map(line_of, knowledge.objects())),
            schema=schema.SCHEMA_VERSION,
            state=state,
            answers=self._vault.keep(f"{stem}.*.answers.json", io.BytesIO(told)),
        )

    def _packed(self, name: str, path: Path) -> Piece:
        packed = path.with_name(f"{path.name}.gz")
        self._packed_files.append(packed)
        with path.open("rb") as source, packed.open("wb") as target:
            with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1, mtime=0, filename="") as sink:
                shutil.copyfileobj(source, sink, _COPY_BYTES)
        with packed.open("rb") as source:
            return self._vault.keep(name, source)
