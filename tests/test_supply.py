"""What is installed is what was looked at: the lock file is that of setup.cfg, whole, with a hash for everything."""

from __future__ import annotations

import configparser
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def wanted() -> dict[str, str]:
    """The versions in setup.cfg, by name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    found = map(Requirement, filter(None, parser["options"]["install_requires"].splitlines()))
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def locked() -> dict[str, tuple[str, int]]:
    """Version and number of hashes in the lock file, by name."""
    entries = re.split(r"\n(?=[A-Za-z])", (ROOT / "requirements.lock").read_text())
    pins = [(match, len(HASH.findall(entry))) for entry in entries if (match := PIN.search(entry))]
    return {canonicalize_name(match[1]): (match[2].rstrip(" \\"), hashes) for match, hashes in pins}


def closure(names: set[str]) -> set[str]:
    """The names and all that they need here, by what is installed."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting |= {canonicalize_name(needed.name)} - found
    return found


def test_lock_file_has_the_versions_of_setup_cfg() -> None:
    """What setup.cfg names is locked in the same version; else: make lock."""
    versions = {name: version for name, (version, _) in locked().items()}

    assert wanted() == {name: versions.get(name) for name in wanted()}


def test_lock_file_is_whole() -> None:
    """Nothing that would be installed is missing, and nothing else is there; else: make lock."""
    assert closure(set(wanted())) == set(locked())


def test_everything_locked_has_hashes() -> None:
    """pip takes no file that was not there when the lock file was made."""
    assert [] == [name for name, (_, hashes) in locked().items() if not hashes]


@pytest.mark.parametrize("name", sorted(wanted()))
def test_what_is_tested_is_what_is_locked(name: str) -> None:
    """The suite runs with the locked version of each direct dependency."""
    assert locked()[name][0] == metadata.version(name)
