"""Findings about the audit trail, without a lock and without adding to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pacsnode.audit import files, keys, opening
from pacsnode.audit.verify import verify
from pacsnode.config import Config
from pacsnode.doctor.finding import Finding
from pacsnode.errors import PacsNodeError

MOST_READ_BYTES = 64 * 1024 * 1024
"""Of a trail that is larger, the doctor leaves the reading to ``pacsnode audit verify``: some seconds."""


def trail(config: Config) -> Iterator[Finding]:
    """Can it be written, and is it what was written? Nothing is said where there is none yet."""
    path = opening.trail_path(config)
    if not path.parent.exists():
        return
    if refused := [one for one in (path.parent, path) if one.exists() and not os.access(one, os.W_OK)]:
        yield Finding(
            "audit_not_writable",
            f"{refused[0]} cannot be written by this user: what happens is not on record",
            f"run this as the user of the node; else look at owner and mode of {path.parent}",
        )
    if not path.exists() or sum(part.stat().st_size for _, part in [*files.ended(path), (0, path)]) > MOST_READ_BYTES:
        return
    try:
        verdict = verify(path, keys.public_key(keys.public_path(path.parent)))
    except PacsNodeError as error:
        yield Finding("audit_damaged", str(error), "see Audit trail in docs/operations.md; pacsnode audit verify")
        return
    if verdict.flaws:
        problem = f"the audit trail is not what was written: {verdict.flaws[0].problem}"
        yield Finding("audit_damaged", problem, "keep a copy of it, then see what was changed: pacsnode audit verify")
