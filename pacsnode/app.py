"""The composition root: Config → Store, Index, Archive, services. The only file that knows every class.

A data folder holds ``index.db``, ``commitments.db``, ``jobs.db``, ``backup.db``, ``objects/``, ``spool/``, ``lock``
(held by who may change it) and ``node.sock``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pacsnode import recovery, roster
from pacsnode.archive import Archive, Finding
from pacsnode.audit import opening as audit
from pacsnode.audit.recorder import Recorder, silent
from pacsnode.commitment.ledger import Ledger
from pacsnode.config import Config
from pacsnode.dicom.charset import Assumptions
from pacsnode.errors import IndexFailure, NodeRunning, StoreError
from pacsnode.index import migrations
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.integrity.findings import Figures
from pacsnode.integrity.ledger import Ledger as IntegrityLedger
from pacsnode.jobs.ledger import Ledger as RunLedger
from pacsnode.jobs.runner import Runner
from pacsnode.model import Inquiry, Peer, Probe, Reference, Uid
from pacsnode.recovery import MarkFile
from pacsnode.retention import order as deletion_order
from pacsnode.retention.deletions import Deletions
from pacsnode.retention.ledger import NAME as RETENTION_FILE
from pacsnode.retention.ledger import Ledger as RetentionLedger
from pacsnode.retention.order import DeletionOrder
from pacsnode.retention.witness import AuditWitness, Witness, nobody
from pacsnode.service import signals
from pacsnode.service.reload import Part
from pacsnode.storage.ballast import Ballast
from pacsnode.storage.calls import FileSystem
from pacsnode.storage.filesystem import FilesystemStore
from pacsnode.storage.room import Room
from pacsnode.storage.store import Store

if TYPE_CHECKING:
    from pacsnode.backup.backup import NodeBackup

_FOLDER_MODE, _LOCK_MODE = 0o750, 0o640  # patient data: nothing for others
_MOST_REFERENCES = 2000  # in one request for storage commitment: some 256 KiB, which peers can be expected to take


def system_clock() -> datetime:
    """The current time of this machine, in UTC."""
    return datetime.now(UTC)


def index_path(config: Config) -> Path:
    """Where the index of this node is."""
    return config.node.data / config.node.index / "index.db"


def integrity_path(config: Config) -> Path:
    """Where it is kept what the scrub of this node has found."""
    return index_path(config).with_name("integrity.db")


def mark_file(config: Config) -> MarkFile:
    """The note of how far store and index of this node are known to agree."""
    return MarkFile(config.node.data / "mark")


def ballast(config: Config) -> Ballast:
    """The room that is kept for the index of this node."""
    return Ballast(index_path(config).with_name("ballast"), config.storage.ballast)


def assumptions(config: Config) -> Assumptions:
    """In which character set text is read that declares none, by who sent it."""
    return Assumptions(config.assumed_charsets, config.node.assume_charset)


def is_new(config: Config) -> bool:
    """Was nothing ever stored in the data folder? Creates nothing."""
    if index_path(config).exists():
        return False
    return not (config.node.data / "objects").exists() or _has_no_objects(open_store(config, read_only=True))


def open_store(config: Config, *, read_only: bool) -> FilesystemStore:
    """The store of this node. Reading needs no lock; otherwise its folders are created. Raises StoreError."""
    return FilesystemStore(config.node.data, min_free_bytes=config.storage.min_free, read_only=read_only)


@contextlib.contextmanager
def open_archive(config: Config, *, read_only: bool) -> Iterator[Archive]:
    """The archive of this node, closed at the end of the ``with`` block.

    Reading works beside a running node. Otherwise the node's lock is held: NodeRunning where it is taken.
    Raises StoreError; IndexFailure also where there are objects but no index.
    """
    with contextlib.ExitStack() as stack:
        path = index_path(config)
        if not read_only:
            stack.enter_context(hold(config.node.data))
            _make_folder(path.parent)
            ballast(config).relieve()
            _finish_swap(path)
        elif is_new(config):
            raise IndexFailure(f"nothing was ever stored in {config.node.data}; is this the right configuration?")
        store = open_store(config, read_only=read_only)
        if not path.exists() and not _has_no_objects(store):
            raise IndexFailure(f"{path} is missing, but there are objects; rebuild it by: pacsnode reindex")
        index = SqliteIndex(
            path,
            duplicates=config.storage.duplicates,
            read_only=read_only,
            make_room=ballast(config).give_up,
            query_seconds=None if read_only else config.limits.query_deadline,
        )
        stack.callback(index.close)
        archive = Archive(store, index, system_clock, assumptions(config), rooms=_rooms_of_index(config))
        if not read_only:
            roster.settle_deletions(config, archive, path.parent)
            stack.enter_context(recovery.kept_settled(archive, mark_file(config), leftovers=store.sweep()))
            stack.callback(index.close)  # before the mark says that nothing is open any more
        yield archive


@contextlib.contextmanager
def hold(data: Path) -> Iterator[None]:
    """Hold the data folder, which is created, alone. Raises NodeRunning where another process does, StoreError."""
    descriptor = _lock_file(data)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise NodeRunning(f"{data} is in use by process {holder}; stop it or wait") from error
        # Only for people: a full disk must not keep the node from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def serve(config: Config, read_config: Callable[[], Config]) -> None:
    """Run the node until SIGTERM or SIGINT, then let associations end for a while and stop.

    ``read_config`` reads the configuration anew, at each SIGHUP and ``pacsnode reload``.

    Raises NodeRunning, StoreError, IndexFailure and ConfigError; CannotListen where an address is taken or not ours.
    """
    from pacsnode.node import Node  # pynetdicom takes half a second, which the offline commands need not wait for

    signals.ignore_reload()

    def settle() -> None:
        mark_file(config).move_on(archive)
        ballast(config).restore(spare)

    with (
        open_archive(config, read_only=False) as archive,
        contextlib.closing(open_ledger(config)) as ledger,
        audit.running(config, system_clock) as auditing,
        engaged_jobs(config, archive, auditing.recorder) as (jobs, part),
        deletions(config, archive, AuditWitness(auditing.recorder)) as studies,
    ):
        spare = config.storage.index_min_free if archive.rooms else config.storage.min_free
        ballast(config).restore(spare)
        orders = {deletion_order.NAME: DeletionOrder(studies)}
        parts = [part, roster.grace_part(studies)]
        Node(config, archive, ledger, jobs, settle, read_config, auditing, parts, orders).run()


def engaged_jobs(
    config: Config, archive: Archive, recorder: Recorder | None = None
) -> contextlib.AbstractContextManager[tuple[Runner, Part]]:
    """A runner of all jobs over an open archive, and what has it take another configuration. Raises IndexFailure."""
    return roster.engaged(config, archive, index_path(config).parent, recorder or silent())


def deletions(
    config: Config, archive: Archive, witness: Witness = nobody
) -> contextlib.AbstractContextManager[Deletions]:
    """What deletes studies and brings them back. Raises IndexFailure."""
    return roster.deletions(config, archive, index_path(config).parent, witness)


@contextlib.contextmanager
def audited_deletions(config: Config, archive: Archive) -> Iterator[Deletions]:
    """For a command: what it does is told to the audit trail. Raises AuditFailure, IndexFailure."""
    with audit.commanded(config, system_clock) as recorder, deletions(config, archive, AuditWitness(recorder)) as found:
        yield found


def known_deletions(config: Config) -> contextlib.AbstractContextManager[RetentionLedger | None]:
    """The ledger of deletions and holds, beside a running node; None where there never was any. Raises IndexFailure."""
    path = index_path(config).with_name(RETENTION_FILE)
    return contextlib.closing(RetentionLedger(path)) if path.exists() else contextlib.nullcontext()


def known_runs(config: Config) -> contextlib.AbstractContextManager[RunLedger | None]:
    """The ledger of runs, to be read beside a running node; None where no job ever ran. Raises IndexFailure."""
    folder = index_path(config).parent
    if not (folder / "jobs.db").exists():
        return contextlib.nullcontext()
    return contextlib.closing(roster.open_ledger(config, folder))


def due_by(config: Config, job: str, success: datetime) -> datetime:
    """From when on the job, last done well then, is overdue by its schedule."""
    return roster.due_by(config, job, success)


def backup(config: Config, changes: Mapping[str, str] = MappingProxyType({})) -> NodeBackup:
    """The backup of this node, or one that differs by ``changes`` of keys of its table; opens nothing."""
    table = config.jobs.backup.model_copy(update=dict(changes))
    changed = config.model_copy(update={"jobs": config.jobs.model_copy(update={"backup": table})})
    return roster.node_backup(changed, index_path(config).parent)


def open_ledger(config: Config) -> Ledger:
    """The storage commitments that are not reported yet, for which the lock must be held, and what we asked of peers,
    for which it need not. Raises IndexFailure."""
    return Ledger(config.node.data / "commitments.db", capacity=config.commitment.transactions)


@contextlib.contextmanager
def open_integrity(config: Config) -> Iterator[IntegrityLedger]:
    """What the scrub found, and how far it is; needs no lock. Raises IndexFailure."""
    with contextlib.closing(IntegrityLedger(integrity_path(config))) as ledger:
        yield ledger


def known_findings(config: Config) -> tuple[Figures, list[str]]:
    """What the scrub of this node has found, and what is wrong now, for people. Raises IndexFailure."""
    if not integrity_path(config).exists():
        return Figures({}, {}), []
    with open_integrity(config) as ledger:
        full_pass = timedelta(seconds=config.jobs.integrity.full_pass)
        return ledger.findings.figures(), ledger.complaints(system_clock(), full_pass=full_pass)


def storage_classes(config: Config) -> frozenset[Uid]:
    """The SOP classes that may be stored here: those that a C-STORE may bring."""
    from pacsnode.dimse import contexts  # takes half a second, which the other offline commands need not wait for

    return contexts.storage_classes(config.storage.private_sop_classes)


def probe(config: Config, peer: Peer) -> Probe:
    """Associate with a peer and echo. Raises PeerFailure, ConfigError."""
    from pacsnode.dimse import peers, tls  # see storage_classes

    secure = tls.for_requestor(config.tls) if peer.tls else None
    return peers.probe(peer, calling_ae=config.node.ae_title, limits=config.limits, secure=secure)


def inquire(config: Config, peer: Peer, references: Sequence[Reference]) -> Iterator[Inquiry]:
    """Ask a peer to commit to these, in as many requests as it takes; works beside a running node.

    What a peer reports later goes to the node that listens. Raises PeerFailure, ConfigError, IndexFailure.
    """
    from pacsnode.dimse import inquiry, tls  # see storage_classes

    secure = tls.for_requestor(config.tls) if peer.tls else None
    with contextlib.closing(open_ledger(config)) as ledger:
        inquirer = inquiry.Inquirer(
            ledger.inquiries,
            ae_title=config.node.ae_title,
            limits=config.limits,
            wait_seconds=config.commitment.same_association_wait,
            clock=system_clock,
            secure=secure,
        )
        for first in range(0, len(references), _MOST_REFERENCES):
            yield inquirer.inquire(peer, references[first : first + _MOST_REFERENCES])


def kept_inquiry(config: Config, transaction_uid: Uid) -> Inquiry | None:
    """What a peer has said so far; None where nothing was asked under this Transaction UID. Raises IndexFailure."""
    with contextlib.closing(open_ledger(config)) as ledger:
        return ledger.inquiries.find(transaction_uid)


def check_certificates(config: Config) -> None:
    """Raises ConfigError where a file of TLS is missing, not what it should be, or expired."""
    from pacsnode.dimse import tls

    audit.check(config)

    if config.node.tls_listen:
        tls.for_acceptor(config.tls)
    if any(peer.tls for peer in config.peers.values()):
        tls.for_requestor(config.tls)


def upgrade(config: Config) -> list[str]:
    """Bring the index to the schema of this version, under the lock; what was done, a line for each step."""
    with hold(config.node.data):
        _finish_swap(index_path(config))
        return migrations.upgrade(index_path(config))


def reindex(config: Config) -> Generator[Finding | None, None, None]:
    """Build the index anew from the objects alone, under the lock.

    Yields a finding for each object that cannot be read, None for each that was added. When all is through, the new
    index takes the place of the old one, which is kept as ``index.db.old``; stopped before, the old one stays, and the
    next call goes on where this one was.
    """
    current = index_path(config)
    building, ready = current.with_name("index.db.building"), current.with_name("index.db.new")
    with hold(config.node.data):
        _make_folder(current.parent)
        _finish_swap(current)
        roster.take_deleted(config, current.parent)
        with contextlib.closing(_begun_or_new(building)) as index:
            store = open_store(config, read_only=False)
            yield from Archive(store, index, system_clock, assumptions(config)).rebuild()
        if _beside(building, "-wal").exists():
            raise IndexFailure(f"{building} could not be closed; look for what has it open, and run this again")
        _sync(building)
        building.replace(ready)
        _finish_swap(current)


def _begun_or_new(building: Path) -> SqliteIndex:
    """The index that an earlier reindex began, if it can be used."""
    try:
        return SqliteIndex(building)
    except IndexFailure:
        for leftover in (building, _beside(building, "-wal"), _beside(building, "-shm")):
            leftover.unlink(missing_ok=True)
        return SqliteIndex(building)


def _rooms_of_index(config: Config) -> list[Room]:
    """The room for the index, where that has a file system of its own."""
    folder, objects = index_path(config).parent, config.node.data / "objects"
    if not objects.exists() or folder.stat().st_dev == objects.stat().st_dev:
        return []
    return [Room(folder, FileSystem(), min_free_bytes=config.storage.index_min_free, monotonic=time.monotonic)]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot use {folder} for the index: {error.strerror}; see index in table [node]") from error


def _has_no_objects(store: Store) -> bool:
    return next(iter(store.keys()), None) is None


def _lock_file(data: Path) -> int:
    try:
        data.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        return os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
    except OSError as error:
        raise StoreError(f"cannot use {data} as the data folder: {error.strerror}; see data in table [node]") from error


def _finish_swap(current: Path) -> None:
    """Let a complete ``index.db.new`` take the place of the index; goes on where a crash ended it.

    A write-ahead log belongs to a file's name: the old one must be gone before the new database gets that name.
    """
    ready, old = current.with_name("index.db.new"), current.with_name("index.db.old")
    if not ready.exists():
        return
    if current.exists():
        _beside(old, "-wal").unlink(missing_ok=True)
        current.replace(old)
    if _beside(current, "-wal").exists():
        _beside(current, "-wal").replace(_beside(old, "-wal"))
    _beside(current, "-shm").unlink(missing_ok=True)
    _sync(current.parent)
    ready.replace(current)
    _sync(current.parent)


def _beside(database: Path, suffix: str) -> Path:
    return database.with_name(database.name + suffix)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
