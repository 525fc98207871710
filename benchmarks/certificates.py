"""Certificates for trials, made by the openssl command: a CA, and what it signs. For real ones see docs/tls.md."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


class CannotCertify(Exception):
    """There is no openssl command, or it failed."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, PEM files of their own."""

    certificate: Path
    key: Path


class Authority:
    """A certification authority in a folder, which is created."""

    def __init__(self, folder: Path) -> None:
        """Raises CannotCertify."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        files = ("-keyout", str(self._key), "-out", str(self.certificate))
        _openssl("req", "-x509", *_EC_KEY, "-days", "30", "-subj", "/CN=Trial CA", *files)

    def issue(self, name: str, *, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 30) -> Certificate:
        """A certificate made out to the alternative names; expired with negative ``days``. Raises CannotCertify."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        _openssl("req", *_EC_KEY, *subject, "-keyout", str(made.key), "-out", str(request))
        signer = ("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial")
        files = ("-in", str(request), "-copy_extensions", "copy", "-out", str(made.certificate))
        _openssl("x509", "-req", *signer, *files, "-days", str(days))
        return made


def is_possible() -> bool:
    """Is the openssl command here?"""
    return shutil.which("openssl") is not None


def _openssl(*arguments: str) -> None:
    command: Sequence[str] = (shutil.which("openssl") or "openssl", *arguments)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotCertify("the openssl command is not here; run: apt-get install openssl") from error
    except subprocess.CalledProcessError as error:
        raise CannotCertify(f"openssl {arguments[0]}: {error.stderr.strip()[-500:]}") from error
