"""The trail: nothing in it changes without being noticed, and a power cut is not taken for that."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pacsnode.audit import chain, files, keys, trail
from pacsnode.audit.trail import Trail
from pacsnode.audit.verify import Verdict, verify
from pacsnode.errors import AuditFailure

LARGE = 2**30
FLIPS = 1_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the trail of a test is."""
    return tmp_path / "audit" / "audit.log"


def check(path: Path) -> Verdict:
    """What verify finds, with the key that lies beside."""
    return verify(path, keys.public_key(path.parent))


def write(path: Path, count: int = 40, *, seals: bool = True, rotate_bytes: int = LARGE) -> None:
    """A trail with so many messages."""
    one = Trail(path, rotate_bytes=rotate_bytes)
    for number in range(count):
        one.append([b"<message number='%d'/>" % number * 3])
    if seals:
        one.seal()
    one.close()


def test_what_was_written_is_sound(path: Path) -> None:
    """An untouched trail has no flaw, and its last seal speaks for every message."""
    write(path, trail.SEAL_RECORDS + 10)

    verdict = check(path)
    assert ([], trail.SEAL_RECORDS + 10, 0) == (verdict.flaws, verdict.messages, verdict.torn_bytes)
    assert verdict.records - 1 == verdict.sealed


def test_files_are_for_the_node_alone(path: Path) -> None:
    """Nobody but owner and group reads the trail; the signing key is the owner's."""
    write(path)

    modes = {one.name: oct(one.stat().st_mode & 0o777) for one in path.parent.iterdir()}
    assert "0o640" == modes["audit.log"]
    assert "0o600" == modes["signing.key"]


@pytest.mark.parametrize("seals", [True, False])
def test_every_flip_is_detected(path: Path, seals: bool) -> None:
    """Whichever byte is changed to whatever else, in the last record too, sealed or not: it is a finding."""
    write(path, seals=seals)
    good, chance = path.read_bytes(), random.Random(7)
    missed = []
    places = [*range(len(good) - 150, len(good)), *(chance.randrange(len(good)) for _ in range(FLIPS - 150))]
    for place in places:
        mask = chance.randrange(1, 256)
        path.write_bytes(good[:place] + bytes([good[place] ^ mask]) + good[place + 1 :])
        if not check(path).flaws:
            missed.append((place, mask))

    assert FLIPS == len(places)
    assert [] == missed
    path.write_bytes(good)
    assert [] == check(path).flaws


@pytest.mark.parametrize("where", [0, 1, 7, 38])
def test_missing_and_swapped_records(path: Path, where: int) -> None:
    """A record taken out, put in twice, or moved is a finding."""
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    without = lines[:where] + lines[where + 1 :]
    twice = lines[: where + 1] + lines[where:]
    swapped = [*lines[:where], lines[where + 1], lines[where], *lines[where + 2 :]]
    for forged in (without, twice, swapped):
        path.write_bytes(b"".join(forged))

        assert check(path).flaws


def test_cut_behind_an_earlier_seal(path: Path) -> None:
    """A trail that ends too early is a finding, even where it ends with a seal."""
    write(path)
    shorter = path.read_bytes()
    write(path)
    path.write_bytes(shorter)

    assert ["record 81 was sealed, and is not there as it was"] == [flaw.problem for flaw in check(path).flaws]


def test_another_key(path: Path, tmp_path: Path) -> None:
    """A trail that somebody made anew, with a key of its own, does not pass with the key that was put away."""
    write(path)
    put_away = keys.public_key(path.parent)
    for one in path.parent.iterdir():
        one.unlink()
    write(path)

    assert verify(path, put_away).flaws
    assert [] == check(path).flaws


@pytest.mark.parametrize("left", [1, 5, 70, 90, 100])
@pytest.mark.parametrize("zeros", [0, 100])
def test_torn_record_is_no_tampering(path: Path, left: int, zeros: int) -> None:
    """The beginning of a record that a power cut left is told, and is no finding; the next start goes on behind it."""
    write(path, 3, seals=False)
    whole = path.read_bytes()
    line, _ = chain.encode(chain.Link(3, whole.splitlines()[2].split()[3]), chain.MESSAGE, b"x" * 50)
    path.write_bytes(whole + line[:left] + bytes(zeros))

    assert ([], left + zeros) == (check(path).flaws, check(path).torn_bytes)
    write(path, 1)
    assert ([], 0, 4) == (check(path).flaws, check(path).torn_bytes, check(path).messages)


def test_damaged_end_stays_a_finding(path: Path) -> None:
    """Where the last record is not what it was, the node goes on in a new file, and verify tells of it ever after."""
    write(path, 3)
    text = path.read_bytes()
    path.write_bytes(text[:-10] + b"XXXXXXXXX\n")
    write(path, 3)

    verdict = check(path)
    assert verdict.flaws
    assert 6 == verdict.messages
    assert 1 == len(files.ended(path))


def test_files_are_put_away(path: Path) -> None:
    """A large file is put away under the number of its last record, and the chain goes on in the next one."""
    write(path, 40, rotate_bytes=1000)

    assert len(files.ended(path)) > 3
    assert ([], 40) == (check(path).flaws, check(path).messages)
    files.ended(path)[1][1].unlink()
    assert ["missing"] == [flaw.problem.split()[-1] for flaw in check(path).flaws]


def test_two_writers(path: Path) -> None:
    """The node and a command add in turn, and one chain comes of it, across files that are put away."""
    one, other = Trail(path, rotate_bytes=2000), Trail(path, rotate_bytes=2000)
    for number in range(20):
        one.append([b"one %d" % number])
        other.append([b"other %d" % number] * 2)
        other.seal()
    one.close()
    other.close()

    assert ([], 60) == (check(path).flaws, check(path).messages)


def test_failed_write_can_be_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails nothing is added; the same messages are there once when it works again."""
    one = Trail(path, rotate_bytes=LARGE)
    one.append([b"first"])

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fdatasync", fails)
        with pytest.raises(AuditFailure, match="No space left on device"):
            one.append([b"second"])
    one.append([b"second"])
    one.close()

    assert ([], 2) == (check(path).flaws, check(path).messages)
