"""Power cuts under load, and what is left of what was acknowledged: ``python -m tests.durability.powercut``.

One data disk goes through all cuts of a row, so that the archive grows and the damage of one cut meets the next.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.durability import guest as guests
from tests.durability import load
from tests.durability.guest import CannotBuild, Guest
from tests.durability.lossy_disk import DiskServer, LossyDisk
from tests.durability.machine import Machine, MachineFailed, running
from tests.durability.mutants import MUTANTS

SERVERS = ("pacsnode", *guests.PEERS)
DISKS = ("keeps", "loses")
"""The drive keeps what was written and not flushed, or loses some of it."""

SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 6.0  # from the first acknowledgement to the cut

_DISK_MEBIBYTES = 16 * 1024  # sparse
_FIRST_ANSWER_SECONDS = 60.0
_VERIFY_SECONDS = 900.0


@dataclass(frozen=True)
class Case:
    """What is put to the test: a server, perhaps with a fault put in, on one kind of drive."""

    server: str = "pacsnode"
    mutant: str = ""
    disk: str = "keeps"

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.server}, {self.mutant}" if self.mutant else self.server


@dataclass
class Outcome:
    """What became of the acknowledged instances."""

    cuts: int = 0
    acknowledged: int = 0
    refused: int = 0
    not_found: set[str] = field(default_factory=set)
    not_sent: set[str] = field(default_factory=set)
    altered: set[str] = field(default_factory=set)
    cuts_with_losses: int = 0
    bad_rows: int = 0  # rows whose object is absent or damaged, as pacsnode verify says
    orphans: int = 0
    failed: str = ""  # why the server did not come up again
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        """Acknowledged instances that are absent, not to be found, or altered."""
        return len(self.not_found | self.not_sent | self.altered)

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing altered, no row without its object, no refusal."""
        return not (self.lost or self.bad_rows or self.refused or self.failed)

    def add(self, missing: load.Missing) -> None:
        """Count what was found missing, each instance once."""
        self.cuts_with_losses += bool(missing.lost - self.not_found - self.not_sent - self.altered)
        self.not_found |= missing.not_found
        self.not_sent |= missing.not_sent
        self.altered |= missing.altered


class Run:
    """All cuts of a case on one disk, in a scratch folder."""

    def __init__(self, case: Case, guest: Guest, folder: Path, seed: int) -> None:
        self.case = case
        self.outcome = Outcome()
        self._guest = guest
        self._image = folder / "data.img"
        self._socket = folder / "disk"
        self._console = folder / "console"
        self._seed = seed
        self._chance = random.Random(seed)
        self._acknowledged = load.Acknowledged()

    def run(self, cuts: int) -> Outcome:
        """So many cuts, each checked at the next start; then everything once more."""
        began = time.monotonic()
        guests.image(self._image, _DISK_MEBIBYTES)
        try:
            for cut in range(1, cuts + 1):
                self._one(cut)
            self._check_everything()
        except MachineFailed as error:
            self.outcome.failed = str(error)
        self.outcome.seconds = time.monotonic() - began
        self._image.unlink()
        return self.outcome

    def _one(self, cut: int) -> None:
        with self._machine() as machine:
            self._check([load.study_of(cut - 1)] if cut > 1 else [], machine)
            first = threading.Event()
            senders = load.senders(machine.port, cut, self._seed * 10_000 + cut, first)
            if not first.wait(_FIRST_ANSWER_SECONDS):
                raise MachineFailed("nothing was acknowledged")
            time.sleep(self._chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
            machine.cut()
        for sender in senders:
            sender.join(30)
        study = {uid: digest for sender in senders for uid, digest in sender.acknowledged.items()}
        self._acknowledged.studies[load.study_of(cut)] = study
        self.outcome.cuts = cut
        self.outcome.acknowledged += len(study)
        self.outcome.refused += sum(len(sender.refused) for sender in senders)

    def _check(self, studies: Sequence[str], machine: Machine) -> None:
        missing = load.ask(machine.port, self._acknowledged, studies)
        self.outcome.add(missing)
        if studies:
            acknowledged = len(self._acknowledged.studies[studies[0]])
            print(
                f"  {self.case.name}, drive {self.case.disk}: cut {self.outcome.cuts}, {acknowledged} acknowledged, "
                f"{len(missing.lost)} lost",
                file=sys.stderr,
            )

    def _check_everything(self) -> None:
        """What earlier cuts left may be damaged by later ones; and do the rows have their objects?"""
        with self._machine(verify="yes" if self.case.server == "pacsnode" else "") as machine:
            last = load.study_of(self.outcome.cuts)
            self._check([last], machine)
            with_losses = self.outcome.cuts_with_losses
            self.outcome.add(load.ask(machine.port, self._acknowledged, self._acknowledged.studies))
            self.outcome.cuts_with_losses = with_losses
            if self.case.server != "pacsnode":
                return
            told = machine.wait_for_line(r"GUEST verify (\{.*\}) end", _VERIFY_SECONDS)[1]
            problems = [finding["problem"] for finding in json.loads(told)["findings"]]
            self.outcome.orphans = sum(problem.startswith("orphan") for problem in problems)
            self.outcome.bad_rows = len(problems) - self.outcome.orphans

    @contextlib.contextmanager
    def _machine(self, verify: str = "") -> Iterator[Machine]:
        """The guest on the disk, its server answering; after the cut the drive has lost what it loses."""
        words = {"server": self.case.server, "MUTANT": self.case.mutant, "verify": verify}
        if self.case.disk == "keeps":
            with running(self._guest, str(self._image), self._console, **words) as machine:
                machine.wait_for_server()
                yield machine
            return
        disk = LossyDisk(self._image)
        try:
            with DiskServer(disk, self._socket) as server:
                with running(self._guest, f"nbd+unix:///?socket={self._socket}", self._console, **words) as machine:
                    machine.wait_for_server()
                    yield machine
                server.wait_until_idle()
                disk.cut(self._chance)
        finally:
            disk.close()


def perform(cases: Sequence[Case], cuts: int, seed: int) -> Iterator[tuple[Case, Outcome]]:
    """Run the cases one after the other. Raises CannotBuild."""
    with tempfile.TemporaryDirectory(prefix="powercut-") as name:
        folder = Path(name)
        built: dict[str, Guest] = {}
        for case in cases:
            if case.server not in built:
                built[case.server] = guests.build(folder / case.server, case.server)
            yield case, Run(case, built[case.server], folder, seed).run(cuts)


def row(case: Case, outcome: Outcome) -> str:
    """A line of the table."""
    rows = f"{outcome.bad_rows}" if case.server == "pacsnode" and not outcome.failed else "-"
    cells = (
        case.name, case.disk, outcome.cuts, outcome.acknowledged, outcome.lost, len(outcome.altered),
        outcome.cuts_with_losses, rows, f"{outcome.seconds:.0f} s",
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


HEADING = (
    "| server | drive | cuts | acknowledged | lost | altered | cuts with losses | rows without object | time |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def verdict(results: Sequence[tuple[Case, Outcome]]) -> int:
    """The exit code: 1 where pacsnode failed, or where no drive showed the fault that was put in. Peers cannot fail."""
    as_it_is = [outcome.is_clean for case, outcome in results if case.server == "pacsnode" and not case.mutant]
    mutants = [not outcome.is_clean for case, outcome in results if case.mutant]
    return int(not all(as_it_is) or (bool(mutants) and not any(mutants)))


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for and print the table; 2 where nothing could be run."""
    parser = argparse.ArgumentParser(prog="powercut", description="Cut the power under load and look what is left.")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk", choices=DISKS, action="append", help="only this kind of drive")
    parser.add_argument("--server", choices=SERVERS, default="pacsnode")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="put this fault in; losses are expected")
    options = parser.parse_args(arguments)
    if options.mutant and options.server != "pacsnode":
        parser.error("faults are put into pacsnode only")
    cases = [Case(options.server, options.mutant, disk) for disk in options.disk or DISKS]
    results: list[tuple[Case, Outcome]] = []
    try:
        for case, outcome in perform(cases, options.cuts, options.seed):
            if not results:
                print(f"kernel {guests.kernel_version()}, seed {options.seed}\n{HEADING}")
            print(row(case, outcome), flush=True)
            if outcome.failed:
                print(f"{case.name}: {outcome.failed}", file=sys.stderr)
            results.append((case, outcome))
    except CannotBuild as error:
        print(f"powercut: {error}", file=sys.stderr)
        return 2
    return verdict(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
