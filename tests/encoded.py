"""An archive's object encoded anew, as compression does it, by pydicom's own codec."""

from __future__ import annotations

import io
import secrets

import pydicom
from pydicom.uid import RLELossless

from pacsnode.archive import Archive
from pacsnode.dicom import part10
from pacsnode.model import Arrival, Instance, Key, Original, Uid
from pacsnode.storage import layout


def encode_anew(archive: Archive, key: Key) -> Instance:
    """Store the object once more, in RLE, beside the old one; the index does not hear of it."""
    before, arrival = archive.describe(key), archive.store.arrival(key)
    with archive.store.open(key) as source:
        data_set = pydicom.dcmread(io.BytesIO(source.read()))
    data_set.compress(RLELossless, generate_instance_uid=False)
    stream = io.BytesIO()
    data_set.save_as(stream)
    stream.seek(0)
    stream.seek(part10.read_foreign_head(stream).offset)
    return store_anew(archive, before, arrival, stream.read())


def store_anew(archive: Archive, before: Instance, arrival: Arrival, data: bytes) -> Instance:
    """Store this RLE data set as what was made of the object."""
    stored = before.stored
    upload = archive.store.begin(
        Arrival(
            arrival.sop_class_uid,
            arrival.sop_instance_uid,
            Uid(RLELossless),
            arrival.calling_ae,
            arrival.called_ae,
            arrival.received_at,
            original=Original(stored.digest, stored.size, stored.transfer_syntax_uid),
        )
    )
    upload.write(data)
    return archive.describe(upload.commit(layout.sibling(stored.key, secrets.token_bytes(4))).key)


def swap(archive: Archive, key: Key, *, keeps_original: bool = False) -> Instance:
    """Compress the object under the key; what the index has now."""
    encoded = encode_anew(archive, key)
    old = archive.index.at(key)
    assert old is not None
    assert archive.index.relocate(old.stored, encoded)
    if not keeps_original:
        archive.store.delete(key)
    return encoded
