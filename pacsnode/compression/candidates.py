"""What may be compressed: native, old enough, and not left alone by the policy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import takewhile

from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.compression.policy import Policy
from pacsnode.dicom import syntax
from pacsnode.model import Instance, Key
from pacsnode.storage import layout


class Candidates:
    """Of one archive, by one policy."""

    def __init__(self, archive: Archive, policy: Policy) -> None:
        self._archive = archive
        self._policy = policy

    def keys(self, after: str = "") -> Iterator[Key]:
        """The keys behind this one of all versions that are old enough, in order of arrival."""
        begin = self._archive.clock() - self._policy.older_than
        end = layout.new_key(begin, bytes(layout.RANDOM_BYTES))
        keys = takewhile(lambda key: key < end, self._archive.index.keys(after))
        return (key for key in keys if key > after)

    def due(self, key: Key) -> tuple[Instance, Codec] | None:
        """The instance and what to encode it with; None where it is gone, compressed already, or to be left alone."""
        instance = self._archive.index.at(key)
        if instance is None or syntax.is_encapsulated(instance.stored.transfer_syntax_uid):
            return None
        codec = self._policy.codec_for(instance.header)
        return None if codec is None else (instance, codec)

    def sample(self, size: int) -> tuple[list[Key], int]:
        """So many of the keys, drawn at random from all that are old enough, and how many those are."""
        drawn: list[Key] = []
        count = 0
        for count, key in enumerate(self.keys(), 1):
            place = len(drawn) if len(drawn) < size else random.randrange(count)  # noqa: S311 - no secret
            if place == len(drawn):
                drawn.append(key)
            elif place < size:
                drawn[place] = key
        return drawn, count
