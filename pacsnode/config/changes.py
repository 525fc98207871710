"""What differs between two configurations."""

from __future__ import annotations

from pacsnode.config.tables import Config


def changed_keys(old: Config, new: Config) -> list[str]:
    """The keys whose values differ, as ``table.key``; of peers the ``peers.NAME``."""
    before, after = old.model_dump(by_alias=True), new.model_dump(by_alias=True)
    return [
        f"{table}.{key}"
        for table in after
        for key in sorted({*before[table], *after[table]})
        if before[table].get(key) != after[table].get(key)
    ]
