"""How many files and sockets this process may have open."""

from __future__ import annotations

import contextlib
import resource


def raise_limit() -> int:
    """Take as many as the system gives us: the soft limit becomes the hard one. Returns the limit that holds then.

    The soft one is 1,024 most often, for the sake of programs that use select(2); we use poll and epoll.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # what was enough until now may be enough
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
