"""Legitimate clients in a steady rhythm, and what they found: how long a C-ECHO took, how many C-STOREs succeeded."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from tests.dimse.raw_peer import EXPLICIT, MR, VERIFICATION, Aborted, Closed, Offer, RawPeer, Rejected, associate_rq
from tests.system.hostile import Target

_PIXEL_BYTES = 128 * 128 * 2
_SUCCESS = 0x0000


@dataclass
class Deeds:
    """What one client has tried; ``seconds`` of each, associating and releasing included, whatever came of it."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many there were."""
        return len(self.seconds)

    def percentile(self, share: float) -> float:
        """Seconds that this share (0 to 1) did not exceed: nearest rank, rounded up. inf of nothing."""
        ascending = sorted(self.seconds)
        return ascending[min(int(share * len(ascending)), len(ascending) - 1)] if ascending else float("inf")


class Bystanders:
    """An echoing and a storing client, a thread each, from the beginning of the ``with`` block to its end."""

    def __init__(self, target: Target, *, echo_every: float = 0.05, store_every: float = 0.1) -> None:
        """A client that is late does not catch up: it waits so many seconds after the beginning of the last try."""
        self.echoes = Deeds()
        self.stores = Deeds()
        self._target = target
        self._stopped = threading.Event()
        self._uid_root = f"2.25.{time.time_ns()}"
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._echo, self.echoes, echo_every)),
            threading.Thread(target=self._repeat, args=(self._store, self.stores, store_every)),
        ]

    def __enter__(self) -> Bystanders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, deed: Callable[[], int | None], deeds: Deeds, every: float) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                status = deed()
                if status != _SUCCESS:
                    deeds.failures.append(f"status {status}")
            except (OSError, Aborted, Closed, Rejected) as error:
                deeds.failures.append(repr(error))
            took = time.monotonic() - began
            deeds.seconds.append(took)
            self._stopped.wait(max(every - took, 0))

    def _echo(self) -> int | None:
        with RawPeer(self._target.port) as peer:
            peer.associate(request=self._request(Offer(1, VERIFICATION)))
            status = peer.echo()
            peer.release()
        return status

    def _store(self) -> int | None:
        uid = f"{self._uid_root}.{self.stores.tried}"
        with RawPeer(self._target.port) as peer:
            peer.associate(request=self._request(Offer(1, MR, (EXPLICIT,))))
            status = peer.store(1, MR, uid, data_set(uid)).status
            peer.release()
        return status

    def _request(self, offer: Offer) -> bytes:
        return associate_rq([offer], called=self._target.called.encode(), calling=self._target.calling.encode())


def data_set(uid: str) -> bytes:
    """A small MR image of a patient who never was, explicit VR little endian."""

    def element(tag: int, vr: bytes, raw: bytes) -> bytes:
        raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(raw)) + raw

    return (
        element(0x00080016, b"UI", MR.encode())
        + element(0x00080018, b"UI", uid.encode())
        + element(0x00080060, b"CS", b"MR")
        + element(0x00100020, b"LO", b"BYSTANDER")
        + element(0x0020000D, b"UI", b"2.25.778.1")
        + element(0x0020000E, b"UI", b"2.25.778.2")
        + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, _PIXEL_BYTES)
        + bytes(_PIXEL_BYTES)
    )
