"""The composition root: the lock, and an index that is replaced while power may fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pacsnode import app
from pacsnode.config import Config, Limits, Node, Storage
from pacsnode.errors import IndexFailure, NodeRunning, QueryTooLong
from pacsnode.model import Arrival, Level, Outcome, Query, Uid, Wildcard
from tests.cli.folder import CT, data_set
from tests.index.samples import multiply


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(node=Node(data=tmp_path / "data"), storage=Storage(min_free=0))


def store(config: Config, instance_uid: str) -> Outcome:
    with app.open_archive(config, read_only=False) as archive:
        arrival = Arrival(Uid(CT), Uid(instance_uid), Uid("1.2.840.10008.1.2.1"), "CT01", "PACSNODE", archive.clock())
        with archive.receive(arrival) as ingest:
            ingest.write(data_set(instance_uid))
            return ingest.commit()


def instances(config: Config) -> int:
    with app.open_archive(config, read_only=True) as archive:
        return archive.index.totals().instances


def test_lock_is_held_by_one(config: Config) -> None:
    """The data folder has one holder at a time, and is free when the block ends."""
    with app.hold(config.node.data):
        with pytest.raises(NodeRunning, match="is in use by process"), app.hold(config.node.data):
            pass
    with app.hold(config.node.data):
        pass


def test_folder_is_closed_to_others(config: Config) -> None:
    """Patient data is not for every user of the machine."""
    with app.hold(config.node.data):
        modes = [path.stat().st_mode & 0o007 for path in (config.node.data, config.node.data / "lock")]

    assert [0, 0] == modes


def test_only_a_running_node_has_query_deadlines(config: Config) -> None:
    """Who waits at a terminal may wait; peers' queries end by the configuration's deadline."""
    store(config, "2.25.1")
    multiply(app.index_path(config), 100_000)
    hasty = config.model_copy(update={"limits": Limits(query_deadline=0.002)})
    query = Query(Level.STUDY, {"study_description": Wildcard("*x*")})
    with app.open_archive(hasty, read_only=True) as archive:
        assert [] == list(archive.index.find(query))
    with app.open_archive(hasty, read_only=False) as archive, pytest.raises(QueryTooLong):
        list(archive.index.find(query))


def test_new_until_something_is_stored(config: Config) -> None:
    """A data folder is new until an archive was opened in it; looking creates nothing."""
    was_new = app.is_new(config)
    assert not config.node.data.exists()
    app.open_store(config, read_only=False)
    has_folders = app.is_new(config)
    store(config, "2.25.1")

    assert (True, True, False) == (was_new, has_folders, app.is_new(config))


def test_reading_a_new_folder_is_an_error(config: Config) -> None:
    """Reading where nothing was ever stored asks whether the configuration is the right one."""
    with pytest.raises(IndexFailure, match="nothing was ever stored"), app.open_archive(config, read_only=True):
        pass


def test_objects_without_index_are_never_overlooked(config: Config) -> None:
    """A lost index is not silently replaced by an empty one."""
    store(config, "2.25.1")
    app.index_path(config).unlink()
    for read_only in (True, False):
        with pytest.raises(IndexFailure, match="pacsnode reindex"), app.open_archive(config, read_only=read_only):
            pass


def test_reindex_that_is_stopped_leaves_the_old_index(config: Config) -> None:
    """Until the new index is complete the old one is the one that counts, and the lock is free again."""
    store(config, "2.25.1")
    store(config, "2.25.2")
    before = app.index_path(config).read_bytes()
    steps = app.reindex(config)
    next(steps)
    steps.close()

    assert before == app.index_path(config).read_bytes()
    assert 2 == instances(config)
    assert [None, None] == list(app.reindex(config))


@pytest.mark.parametrize("moved", [(), ("",), ("", "-wal")])
def test_swap_goes_on_where_a_crash_ended_it(config: Config, moved: tuple[str, ...]) -> None:
    """A complete new index takes its place at the next opening, never with the old one's log."""
    store(config, "2.25.1")
    store(config, "2.25.2")
    index = app.index_path(config)
    shutil.copy(index, index.with_name("index.db.new"))
    index.write_bytes(b"the old index")
    index.with_name("index.db-wal").write_bytes(b"the old log")
    for suffix in moved:
        index.with_name(f"index.db{suffix}").replace(index.with_name(f"index.db.old{suffix}"))

    outcome = store(config, "2.25.3")

    assert (Outcome.STORED, 3) == (outcome, instances(config))
    assert [b"the old index", b"the old log"] == [
        index.with_name(f"index.db.old{suffix}").read_bytes() for suffix in ("", "-wal")
    ]
    assert not index.with_name("index.db.new").exists()


def test_storage_classes_are_those_of_a_c_store(config: Config) -> None:
    """Standard Storage classes and configured private ones; no DICOMDIR, no query."""
    private = config.model_copy(update={"storage": Storage(private_sop_classes=("1.2.3",))})
    classes = app.storage_classes(private)

    assert {CT, "1.2.3"} <= classes
    assert not {"1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.2.2.1"} & classes
