"""What the pixels of an image are, whatever they are encoded with."""

from __future__ import annotations

import hashlib

from pacsnode.codec.images import Coder, Image


def pixel_digest(image: Image, coder: Coder) -> str:
    """SHA-256 of all native frames, one behind the other without padding. Raises CodecFailure, ObjectDamaged."""
    digest = hashlib.sha256()
    for frame in image.native_frames(coder):
        digest.update(frame)
    return digest.hexdigest()
