"""What this process leaves behind on the disk holds patient data: nobody but its user and group reads it."""

from __future__ import annotations

import os
import resource

_UMASK = 0o027  # files 0640, folders 0750


def keep_private() -> None:
    """Let the files and folders of this process have their own modes, whoever started it, and leave no core file."""
    os.umask(_UMASK)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
