"""``peer commit`` and ``peer inquiry``: what a peer says of the instances of a study, and the exit codes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pacsnode import app
from pacsnode.config import Config
from pacsnode.model import CommitmentReport, Uid
from tests.cli.folder import CT, STUDY, Folder, image
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, Nodes, nodes
from tests.dimse.test_commitment import committing

__all__ = ["nodes"]
UIDS = [images.uid_of(number) for number in (1, 2)]


@pytest.fixture
def sender(tmp_path: Path) -> Folder:
    """A node that has a study of two instances."""
    path = tmp_path / "sender"
    path.mkdir()
    folder = Folder(path)
    for uid in UIDS:
        (path / f"{uid}.dcm").write_bytes(image(uid))
        assert 0 == folder.run("import", path / f"{uid}.dcm").exit_code
    return folder


def know(folder: Folder, port: int, wait: str = "5 s") -> None:
    """Configure the peer."""
    folder.file.write_text(
        folder.file.read_text()
        + f'[peers.ARCHIVE2]\nae_title = "{AE_TITLE}"\nhost = "127.0.0.1"\nport = {port}\n'
        + f'[commitment]\nsame_association_wait = "{wait}"\n'
    )


@pytest.mark.parametrize(("there", "code"), [((1, 2), 0), ((1,), 3)])
def test_a_peer_that_reports_at_once(
    sender: Folder,
    nodes: Nodes,
    tmp_path: Path,
    there: tuple[int, ...],
    code: int,
) -> None:
    """All committed is 0, a failure is 3; each instance is told, and is known afterwards."""
    node = nodes.start()
    node.keep(*there)
    know(sender, node.port)
    with committing(node, tmp_path):
        result = sender.run("peer", "commit", "ARCHIVE2", "--study", STUDY, "--json")
        (told,) = sender.answer("peer", "commit", "ARCHIVE2", "--study", STUDY)

    outcomes = {UIDS[0]: "committed", UIDS[1]: "failed with 0112H" if code else "committed"}
    assert code == result.exit_code
    assert outcomes == {one["uid"]: one["outcome"] for one in told["instances"]}
    assert [told] == sender.answer("peer", "inquiry", told["transaction_uid"])


def test_a_peer_that_takes_its_time(sender: Folder, nodes: Nodes, tmp_path: Path) -> None:
    """Where nothing is reported yet the exit code is 75, and the way to look later is told; then it is 0."""
    node = nodes.start()
    node.entity.services[0x0130] = Silent()  # type: ignore[index]
    know(sender, node.port, "1 ms")
    result = sender.run("peer", "commit", "ARCHIVE2", "--study", STUDY)
    uid = result.stdout.split()[-1]

    assert 75 == result.exit_code
    assert "0 committed, 0 failed, 2 not told yet" in result.stdout
    assert 75 == sender.run("peer", "inquiry", uid).exit_code

    hear(sender.config, uid)
    assert 0 == sender.run("peer", "inquiry", uid).exit_code


class Silent:
    """Takes requests over and says nothing more."""

    def serve(self, association: Any, request: Any) -> None:
        """See Service."""
        request.drain()
        association.respond(request, 0)


def hear(config: Config, uid: str) -> None:
    """Everything is committed."""
    with closing(app.open_ledger(config)) as ledger:
        asked = ledger.inquiries.find(Uid(uid))
        assert asked is not None
        assert {CT} == {one.sop_class_uid for one in asked.references}
        ledger.inquiries.take(CommitmentReport(Uid(uid), frozenset(asked.references), {}), AE_TITLE, asked.asked_at)


def test_a_peer_that_refuses(sender: Folder, nodes: Nodes) -> None:
    """A peer that does not do storage commitment is one line on stderr, and 1."""
    know(sender, nodes.start().port)
    result = sender.run("peer", "commit", "ARCHIVE2", "--study", STUDY)

    assert 1 == result.exit_code
    assert "pacsnode: ARCHIVE2: answers the request for storage commitment with status 0211H" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("commit", "NOBODY", "--study", STUDY), 2, "there is no peer NOBODY"),
        (("commit", "ARCHIVE2", "--study", "2.25.99"), 1, "no study 2.25.99 is stored here"),
        (("inquiry", "2.25.99"), 1, "nothing was asked under the Transaction UID 2.25.99"),
    ],
)
def test_mistakes(sender: Folder, arguments: tuple[str, ...], code: int, words: str) -> None:
    """A peer, a study or a transaction that there is not is told in one line."""
    know(sender, 104)
    result = sender.run("peer", *arguments)

    assert code == result.exit_code
    assert words in result.stderr
