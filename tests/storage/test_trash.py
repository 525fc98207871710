"""The trash: objects are in it or under their key, never nowhere, and nothing under a key is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode.errors import ObjectNotFound, StoreError
from pacsnode.model import Key
from pacsnode.storage.filesystem import FilesystemStore
from tests.storage.test_store_contract import new_key, put

NAME = "0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path)


def content(store: FilesystemStore, key: Key) -> bytes:
    with store.open(key) as source:
        return source.read()


def test_there_and_back(store: FilesystemStore) -> None:
    """Taken, an object is not found under its key; given back, it is at both places until the trash is dropped."""
    key = put(store, b"content").key
    before = content(store, key)

    for _ in range(2):  # as after a kill
        store.trash.take(NAME, [key, new_key()], {"keys": [key]})
    assert [] == list(store.keys())
    assert not store.is_bare()
    with store.trash.open(NAME, key) as source:
        assert before == source.read()

    for _ in range(2):
        store.trash.give_back(NAME, [key, new_key()])
    assert before == content(store, key)
    assert 1 == store.trash.count(NAME)

    for _ in range(2):
        store.trash.drop(NAME)
    assert before == content(store, key)
    assert store.trash.is_empty()


def test_nothing_is_overwritten(store: FilesystemStore, tmp_path: Path) -> None:
    """What has the key meanwhile stays as it is."""
    key = put(store, b"content").key
    store.trash.take(NAME, [key], {})
    (tmp_path / "objects" / key).write_bytes(b"other")

    store.trash.give_back(NAME, [key])

    assert b"other" == content(store, key)


def test_what_is_not_there(store: FilesystemStore, tmp_path: Path) -> None:
    """Before anything was deleted there is no folder; an unknown object is not found; a name leads nowhere else."""
    assert store.trash.is_empty()
    assert 0 == store.trash.count(NAME)
    with pytest.raises(ObjectNotFound):
        store.trash.open(NAME, new_key())
    with pytest.raises(StoreError):
        store.trash.drop("../objects")
    assert not (tmp_path / "trash").exists()
