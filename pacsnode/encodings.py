"""Objects that hold one instance in different encodings: the data set that came, and what compression made of it."""

from __future__ import annotations

from collections.abc import Iterable

from pacsnode.dicom import syntax
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.model import Instance, StoredObject
from pacsnode.storage.store import Store


def digest_of_origin(store: Store, stored: StoredObject) -> str:
    """SHA-256 of the data set that came, whatever the object holds it as. Raises ObjectNotFound, ObjectDamaged."""
    original = store.arrival(stored.key).original
    return stored.digest if original is None else original.digest


def holding(store: Store, versions: Iterable[Instance], digest: str) -> Instance | None:
    """The version that holds the data set that came with this digest, as it came if possible.

    One whose head cannot be read is taken to hold something else.
    """
    kept = list(versions)
    as_it_came = (version for version in kept if version.stored.digest == digest)
    encoded_anew = (version for version in kept if _origin(store, version.stored) == digest)
    return next(as_it_came, None) or next(encoded_anew, None)


def _origin(store: Store, stored: StoredObject) -> str:
    if not syntax.is_encapsulated(stored.transfer_syntax_uid):
        return stored.digest
    try:
        return digest_of_origin(store, stored)
    except (ObjectDamaged, ObjectNotFound):
        return ""
