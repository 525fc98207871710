"""An archive of three small studies in a folder, and what deletes them: for the tests of deletions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta
from pathlib import Path

from pacsnode.archive import Archive
from pacsnode.config import rules
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.job import JobReport
from pacsnode.model import Arrival, Instance, Key, Uid
from pacsnode.retention.deletions import Deletions
from pacsnode.retention.job import IsSafe, RetentionJob
from pacsnode.retention.ledger import Ledger
from pacsnode.retention.records import Deletion, State
from pacsnode.storage import layout
from pacsnode.storage.calls import FileSystem
from pacsnode.storage.filesystem import FilesystemStore
from tests.cli.folder import CT, data_set
from tests.integrity.scene import EXPLICIT, Hands, Unlimited

A, B, C = Uid("2.25.11"), Uid("2.25.12"), Uid("2.25.13")
STUDIES = (A, B, C)
GRACE = timedelta(days=30)


class Listener:
    """Notes what it hears: the state, and how many instances."""

    def __init__(self, told: list[tuple[State, int]]) -> None:
        self._told = told

    def deleted(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        """See Witness."""
        self._told.append((deletion.state, len(instances)))

    def restored(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        """See Witness."""
        self._told.append((State.RESTORED, len(instances)))

    def purged(self, deletion: Deletion) -> None:
        """See Witness."""
        self._told.append((deletion.state, 0))


class Scene:
    """Everything is in the folder: it may be opened again."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Hands | None = None,
        fs: FileSystem | None = None,
        index: type[SqliteIndex] = SqliteIndex,
        ledger: type[Ledger] = Ledger,
        grace: timedelta = GRACE,
    ) -> None:
        self.folder = folder
        self.clock = clock or Hands()
        self.store = FilesystemStore(folder, fs=fs)
        self.index = index(folder / "index.db")
        self.archive = Archive(self.store, self.index, self.clock)
        self.ledger = ledger(folder / "deletion.db")
        self.told: list[tuple[State, int]] = []
        self.deletions = Deletions(
            self.archive, self.store.trash, self.ledger, folder, grace=grace, witness=Listener(self.told)
        )

    def close(self) -> None:
        """Close the databases."""
        self.index.close()
        self.ledger.close()

    def fill(self) -> None:
        """Store three studies of three instances; one of each instance has an older version, too."""
        for study in STUDIES:
            for number in range(3):
                self.receive(study, number)
            self.receive(study, 2, filling=40)
        self.clock.pass_by(timedelta(hours=1))

    def receive(self, study: Uid, number: int, *, filling: int = 8, peer: str = "CT01") -> None:
        """Store an instance."""
        uid = f"{study}.{number}"
        arrival = Arrival(Uid(CT), Uid(uid), EXPLICIT, peer, "PACSNODE", self.clock())
        with self.archive.receive(arrival) as ingest:
            ingest.write(data_set(uid, study=study, filling=filling))
            ingest.commit()

    def content(self) -> dict[Key, bytes]:
        """Every object, whole."""
        found: dict[Key, bytes] = {}
        for key in self.store.keys():  # noqa: SIM118 - no mapping
            with self.store.open(key) as source:
                found[key] = source.read()
        return found

    def dump(self) -> list[tuple[object, ...]]:
        """Every row of the index."""
        return _dump(self.index)

    def rebuilt(self) -> list[tuple[object, ...]]:
        """What a reindex would make of the objects."""
        path = self.folder / "rebuilt.db"
        path.unlink(missing_ok=True)
        with closing(SqliteIndex(path)) as index:
            assert not any(Archive(self.store, index, self.clock).rebuild())
            return _dump(index)

    def job(self, *texts: str, requires_backup: bool = False, is_safe: IsSafe | None = None) -> RetentionJob:
        """The job with these rules."""

        def opened() -> AbstractContextManager[IsSafe | None]:
            return nullcontext(is_safe)

        parsed = [rules.parse(text) for text in texts]
        return RetentionJob(self.archive, self.deletions, parsed, requires_backup=requires_backup, opened_backup=opened)

    def run(self, *texts: str, requires_backup: bool = False, is_safe: IsSafe | None = None) -> JobReport:
        """Run the job."""
        return self.job(*texts, requires_backup=requires_backup, is_safe=is_safe).run(Unlimited())

    def studies(self) -> set[Uid]:
        """Those that have a row."""
        return {instance.header.study_instance_uid for instance in self.index.everything()}


def _dump(index: SqliteIndex) -> list[tuple[object, ...]]:
    """But for which instance describes a patient: who has others keeps the description when that one goes."""
    rows = (row if row[0] != "patient" else tuple(v for v in row if not layout.is_key(str(v))) for row in index.dump())
    return sorted(rows, key=repr)
