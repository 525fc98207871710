"""What is wrong with the files of TLS is told before the node listens, in one line that says what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.certificates import Authority, is_possible
from pacsnode.config import Tls
from pacsnode.dimse import tls
from pacsnode.errors import ConfigError
from tests.cli.folder import run


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA."""
    if not is_possible():
        pytest.skip("the openssl command is not here; run: apt-get install openssl")
    return Authority(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> dict[str, str]:
    """Keys of [tls] that are right."""
    made = authority.issue("node")
    return {"certificate": str(made.certificate), "key": str(made.key), "client_ca": str(authority.certificate)}


def complaint(keys: dict[str, str]) -> str:
    """What is said about them."""
    with pytest.raises(ConfigError) as caught:
        tls.for_acceptor(Tls.model_validate(keys))
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca"])
def test_missing_file(good: dict[str, str], key: str) -> None:
    """A file that is not there is named, with the key that names it."""
    expected = "cannot be read: No such file or directory; a PEM file readable for the node's user; see docs/tls.md"

    assert f'[tls] {key} = "/nowhere.pem": {expected}' == complaint({**good, key: "/nowhere.pem"})


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("certificate", "has no certificate in it; a PEM file with one"),
        ("key", "has no private key in it; a PEM file with one"),
        ("client_ca", "has no certificate in it; a PEM file with one"),
    ],
)
def test_no_pem_file(good: dict[str, str], tmp_path: Path, key: str, words: str) -> None:
    """A file of something else is told."""
    path = tmp_path / "text"
    path.write_text("no PEM\n")

    assert f'[tls] {key} = "{path}": {words}; see docs/tls.md' == complaint({**good, key: str(path)})


def test_key_of_another_certificate(good: dict[str, str], authority: Authority) -> None:
    """Two files that do not belong together are told."""
    other = authority.issue("other").key

    assert f"is not the key of {good['certificate']}; " in complaint({**good, "key": str(other)})


def test_key_with_a_passphrase(good: dict[str, str], tmp_path: Path) -> None:
    """Nobody is asked for a passphrase: the node would wait for a terminal."""
    path = tmp_path / "secret.key"
    subprocess.run(
        ["openssl", "pkey", "-in", good["key"], "-aes256", "-passout", "pass:secret", "-out", str(path)], check=True
    )

    assert "has a passphrase; " in complaint({**good, "key": str(path)})


def test_expired_certificate(good: dict[str, str], authority: Authority) -> None:
    """A certificate that nobody would take any more ends the start."""
    made = authority.issue("expired", days=-1)
    said = complaint({**good, "certificate": str(made.certificate), "key": str(made.key)})

    assert f'[tls] certificate = "{made.certificate}": cannot be used: certificate has expired; ' in said


def test_chain_of_an_intermediate(good: dict[str, str], authority: Authority, tmp_path: Path) -> None:
    """The node's certificate may be followed by those of CAs."""
    chain = tmp_path / "chain.pem"
    chain.write_text(Path(good["certificate"]).read_text() + authority.certificate.read_text())

    tls.for_acceptor(Tls.model_validate({**good, "certificate": str(chain)}))


def test_config_check_looks_into_the_files(good: dict[str, str], tmp_path: Path) -> None:
    """``pacsnode config check`` finds what would end the start, as exit code 78; right files are ok."""
    file = tmp_path / "pacsnode.toml"
    keys = "".join(f'{key} = "{value}"\n' for key, value in good.items())
    file.write_text(f'[node]\ntls_listen = "127.0.0.1"\n[tls]\n{keys}')
    fine = run("config", "check", "--config", file)
    file.write_text(file.read_text().replace("node.key", "gone.key"))
    wrong = run("config", "check", "--config", file)

    assert (0, 78) == (fine.exit_code, wrong.exit_code)
    assert wrong.stderr.startswith("pacsnode: [tls] key = ")
    assert 1 == len(wrong.stderr.splitlines())
