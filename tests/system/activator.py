"""What systemd does for a service with sockets: puts them from descriptor 3 on, says so, becomes the service.

``python -m tests.system.activator DESCRIPTOR[,DESCRIPTOR…] COMMAND…``
"""

from __future__ import annotations

import fcntl
import os
import sys

_FIRST_DESCRIPTOR = 3
_OUT_OF_THE_WAY = 100


def main(descriptors: list[int], command: list[str]) -> None:
    """Does not return."""
    copies = [fcntl.fcntl(one, fcntl.F_DUPFD, _OUT_OF_THE_WAY) for one in descriptors]
    for wanted, descriptor in enumerate(copies, _FIRST_DESCRIPTOR):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": "dicom"}
    os.execvpe(command[0], command, os.environ | environment)


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1].split(",")], sys.argv[2:])
