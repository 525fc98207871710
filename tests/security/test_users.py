"""The file of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode.errors import ConfigError
from pacsnode.security import users


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a user whose name has a colon."""
    file = tmp_path / "users"
    file.write_text(users.text({"a:b": users.hash_of("secret one"), "c": users.hash_of("secret two")}))
    return file


def test_passcodes(path: Path) -> None:
    """What was written is read again; each has his own passcode, and nobody that of a name that is not there."""
    known = users.read(str(path))

    assert ["a:b", "c"] == list(known)
    assert users.is_right(known, "a:b", b"secret one")
    assert not users.is_right(known, "c", b"secret one")
    assert not users.is_right(known, "d", b"secret one")
    assert not users.is_right({**known, "e": "$argon2id$broken"}, "e", b"")


def test_hashes_are_argon2id(path: Path) -> None:
    """No passcode is in the file, and no two hashes are alike."""
    text = path.read_text()

    assert "secret" not in text
    assert 2 == text.count("$argon2id$v=19$m=19456,t=2,p=1$")
    assert users.hash_of("same") != users.hash_of("same")


@pytest.mark.parametrize("line", ["anna", "anna:passcode", ":$argon2id$x", "anna:$argon2i$v=19$x"])
def test_lines_that_are_none(path: Path, line: str) -> None:
    """A line that is no user is a mistake of the configuration, told with its number."""
    path.write_text(f"# comment\n\n{line}\n")

    with pytest.raises(ConfigError, match="line 3 is not NAME:HASH"):
        users.read(str(path))


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is told with the command that makes it."""
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; make it by: pacsnode user add"):
        users.read(str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["", " a", "a ", "#a", "a\nb", "a\x00", "ä" * 65])
def test_names_that_are_none(name: str) -> None:
    """What would break the file or a line of the log is no name."""
    assert users.wrong_name(name)
    assert not users.wrong_name("Anna Müller")
