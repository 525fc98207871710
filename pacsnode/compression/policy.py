"""Which codec an instance is to be encoded with, and from what age on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from operator import itemgetter

from pacsnode.codec.codecs import Codec, codec_version
from pacsnode.config.jobs import LEFT_ALONE, Compression
from pacsnode.model import InstanceHeader


@dataclass(frozen=True, slots=True)
class Policy:
    """A codec for each instance; None: it is left as it is. The SOP class counts more than the modality."""

    codec: Codec | None
    older_than: timedelta
    by_kind: Mapping[str, Codec | None] = field(default_factory=dict)  # by modality and by UID of the SOP class

    def codec_for(self, header: InstanceHeader) -> Codec | None:
        """What it says of an instance."""
        by_modality = self.by_kind.get(header.modality, self.codec)
        return self.by_kind.get(header.sop_class_uid, by_modality)

    @property
    def plan(self) -> str:
        """Differs where another policy, or another version of a codec, makes something else of what was passed over."""
        rules = {"": self.codec, **self.by_kind}
        versions = sorted({codec_version(codec) for codec in rules.values() if codec is not None})
        told = [
            f"{kind}={codec.value if codec else LEFT_ALONE}" for kind, codec in sorted(rules.items(), key=itemgetter(0))
        ]
        return "; ".join([*told, *versions])


def policy_of(table: Compression) -> Policy:
    """What the configuration says."""
    return Policy(
        Codec(table.codec),
        timedelta(seconds=table.older_than),
        {kind: _codec(name) for kind, name in table.codec_by_kind.items()},
    )


def _codec(name: str) -> Codec | None:
    return None if name == LEFT_ALONE else Codec(name)
