"""A CA of ours and what it signs, for tests that need certificates."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pacsnode.security import authority, certificates
from pacsnode.security.certificates import Certificate

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Trust:
    """A CA in a folder."""

    folder: Path
    now: datetime

    @classmethod
    def made(cls, folder: Path) -> Trust:
        """A new one."""
        folder.mkdir(parents=True, exist_ok=True)
        trust = cls(folder, datetime.now(UTC))
        trust._write("ca", authority.make(trust.now))
        return trust

    def issue(self, name: str, names: Sequence[str] = LOOPBACK, *, now: datetime | None = None) -> Certificate:
        """NAME.pem and NAME.key, made out to these names."""
        ca = authority.Credentials((self.folder / "ca.pem").read_bytes(), (self.folder / "ca.key").read_bytes())
        made = authority.issue(ca, name, names, now or self.now)
        self._write(name, made)
        return certificates.read_pem(made.certificate)

    def client(self, name: str = "") -> ssl.SSLContext:
        """A client that trusts the CA, and shows this certificate where one is named."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def tables(self) -> str:
        """The [tls] table of a node that has NODE.pem."""
        files = {"certificate": "node.pem", "key": "node.key", "client_ca": "ca.pem"}
        return "[tls]\n" + "".join(f'{key} = "{self.folder / file}"\n' for key, file in files.items())

    def _write(self, name: str, made: authority.Credentials) -> None:
        (self.folder / f"{name}.pem").write_bytes(made.certificate)
        (self.folder / f"{name}.key").write_bytes(made.key)
