"""A node's folder for the tests of the command line, files to import, and commands run in this process."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pacsnode import config
from pacsnode.cli import main
from pacsnode.config import Config
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN
from tests.dicom.dataset_bytes import Leaf, encode

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
DICOMDIR = "1.2.840.10008.1.3.10"
STUDY = "2.25.1"


class Folder:
    """A configuration with its data folder, which nothing was stored in yet."""

    def __init__(self, path: Path, tables: str = "") -> None:
        self.path = path
        self.file = path / "pacsnode.toml"
        self.data = path / "data"
        self.file.write_text(f'[node]\ndata = "data"\n[storage]\nmin_free = "0 B"\n{tables}')

    @property
    def config(self) -> Config:
        """What the file says."""
        return config.load(self.file)

    def run(self, *arguments: str | Path) -> Result:
        """Run a command on this node."""
        return run("--config", self.file, *arguments)

    def answer(self, *arguments: str | Path) -> Any:
        """Run a command with ``--json``: what it printed."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def objects(self) -> list[Path]:
        """The files of all stored objects, in order of arrival."""
        return sorted(path for path in (self.data / "objects").rglob("*") if path.is_file())


def run(*arguments: str | Path, given: str | None = None) -> Result:
    """Run a command in this process, with this on stdin; only what is expected of a user's mistake may be raised."""
    mask = os.umask(0o022)  # which a command of ours makes stricter, for all of its process
    os.umask(mask)
    try:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)
    finally:
        os.umask(mask)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def data_set(instance_uid: str = "2.25.3", *, study: str = STUDY, sop_class: str = CT, filling: int = 8) -> bytes:
    """A small image in Explicit VR Little Endian."""
    leaves = (
        _uid(0x00080016, sop_class),
        _uid(0x00080018, instance_uid),
        Leaf(0x00080020, "DA", b"20240131"),
        Leaf(0x00080060, "CS", b"CT"),
        Leaf(0x00100020, "LO", b"ID1 "),
        _uid(0x0020000D, study),
        _uid(0x0020000E, study + ".2"),
        Leaf(0x00200011, "IS", b"1 "),
        Leaf(0x00200013, "IS", _even(instance_uid.rpartition(".")[2].encode(), b" ")),
        Leaf(0x7FE00010, "OW", bytes(filling)),
    )
    return encode(leaves, EXPLICIT_VR_LITTLE_ENDIAN)


def part10(content: bytes, *, instance_uid: str = "2.25.3", sop_class: str = CT, preamble: bytes = bytes(128)) -> bytes:
    """A Part 10 file of the data set; the UIDs are those of its file meta."""
    meta = b"".join(
        _meta(number, uid)
        for number, uid in ((0x0002, sop_class), (0x0003, instance_uid), (0x0010, EXPLICIT_VR_LITTLE_ENDIAN))
    )
    return preamble + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta + content


def image(instance_uid: str = "2.25.3", *, study: str = STUDY, filling: int = 8) -> bytes:
    """A Part 10 file that can be imported as it is."""
    return part10(data_set(instance_uid, study=study, filling=filling), instance_uid=instance_uid)


def _meta(number: int, uid: str) -> bytes:
    value = _even(uid.encode(), b"\0")
    return struct.pack("<HH2sH", 2, number, b"UI", len(value)) + value


def _uid(tag: int, uid: str) -> Leaf:
    return Leaf(tag, "UI", _even(uid.encode(), b"\0"))


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)
