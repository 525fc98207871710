"""A process that compresses what is in a folder, to be killed: ``python -m tests.compression.victim FOLDER``."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from pacsnode.codec.sandbox import Limits, Sandbox
from pacsnode.compression.job import CompressionJob
from pacsnode.compression.policy import Policy
from pacsnode.jobs.budget import RunBudget
from tests.compression.scene import POLICY, age, opened


def main() -> None:
    """Say when the first batch is about to begin, then run the job to its end."""
    folder = Path(sys.argv[1])
    with opened(folder) as archive:
        age(archive)
        policy = Policy(POLICY.codec, timedelta(days=1))
        job = CompressionJob(archive, folder, policy, coder=lambda: Sandbox(1, Limits()))
        print("ready", flush=True)
        job.run(RunBudget())


if __name__ == "__main__":
    main()
