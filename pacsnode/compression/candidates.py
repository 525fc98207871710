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

    def instances(self, after: str) -> Iterator[Instance]:
        """All versions that are old enough with keys behind this one, in order of arrival, as they were a moment ago:
        read by the page, of which some may be gone by now."""
        end = self._end()
        found = takewhile(lambda one: one.stored.key < end, self._archive.index.everything(after))
        return (one for one in found if one.stored.key > after)

    def codec_for(self, instance: Instance) -> Codec | None:
        """What to encode it with; None where it is compressed already, or to be left alone."""
        is_compressed = syntax.is_encapsulated(instance.stored.transfer_syntax_uid)
        return None if is_compressed else self._policy.codec_for(instance.header)

    def sample(self, size: int) -> tuple[list[Key], int]:
        """So many of the keys, drawn at random from all that are old enough, and how many those are."""
        drawn: list[Key] = []
        count = 0
        end = self._end()
        for count, key in enumerate(takewhile(lambda key: key < end, self._archive.index.keys()), 1):
            place = len(drawn) if len(drawn) < size else random.randrange(count)  # noqa: S311 - no secret
            if place == len(drawn):
                drawn.append(key)
            elif place < size:
                drawn[place] = key
        return drawn, count

    def _end(self) -> Key:
        """No key that sorts behind it is old enough."""
        begin = self._archive.clock() - self._policy.older_than
        return layout.new_key(begin, bytes(layout.RANDOM_BYTES))
