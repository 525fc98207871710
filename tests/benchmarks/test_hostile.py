"""The hostile peers: what they do, and that a server is judged by what others get beside them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from benchmarks import attackers, hostile, servers
from benchmarks.attackers import Horde, Titles
from benchmarks.certificates import Authority, is_possible
from benchmarks.hostile import KINDS, Modality
from benchmarks.loadgen import Refused, answers


def test_kinds_of_the_benchmark() -> None:
    """As many of each kind as is said of them."""
    available = attackers.kinds(Titles())

    assert [500, 50, 20, 100] == [available[kind][0] for kind in KINDS]


def test_what_fails_has_taken_its_time() -> None:
    """Operations that fail count among the times, and not among the successes."""
    is_over = threading.Event()

    def operate(number: int) -> None:
        if number == 4:
            is_over.set()
        if number % 2:
            raise Refused("not now")

    modality = Modality(operate)
    modality.work(is_over)

    assert (5, 3) == (len(modality.seconds), modality.succeeded)


@pytest.mark.parametrize("start", [servers.pacsnode_with_tls, servers.pynetdicom], ids=["pacsnode", "pynetdicom"])
def test_a_server_under_attack(tmp_path: Path, start: hostile.StartWithTls) -> None:
    """Both servers with TLS answer on both ports; attackers come, and the server is there afterwards."""
    if not is_possible():
        pytest.skip("the openssl command is not here; run: apt-get install openssl")
    authority = Authority(tmp_path / "certificates")
    (tmp_path / "server").mkdir()
    with start(tmp_path / "server", authority.issue("node"), authority.certificate) as server:
        assert server.tls is not None
        hostile.echo(server.tls, hostile.client_of(authority))
        horde = Horde(server.called.port, server.tls.port, Titles(server.called.ae_title), ["vanishers"])
        horde.run(0.5)

        assert horde.begun["vanishers"] >= 20
        assert answers(server.called)
        assert server.resident_mebibytes() > 0
