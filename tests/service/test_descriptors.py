"""How many descriptors the node takes, and what it does without one."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
from pacsnode.service import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
print(descriptors.raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE), descriptors.raise_limit())
"""


def test_the_soft_limit_becomes_the_hard_one() -> None:
    """In a process of its own, since a hard limit cannot be raised again; the second time changes nothing."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=True)

    assert "128 (128, 128) 128" == done.stdout.strip()
