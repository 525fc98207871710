"""No transaction is lost, whatever restarts and unreachable requesters there are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.commitment.commitments import Commitments
from pacsnode.commitment.ledger import Ledger
from pacsnode.commitment.verdict import Judge
from pacsnode.config import Commitment as Settings
from pacsnode.errors import PeerFailure
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Commitment, CommitmentRequest, FailureReason, Peer, Reference, Uid
from pacsnode.storage.memory import MemoryStore

PEER = Peer("modality", "MODALITY", "127.0.0.1", 104)
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Requester:
    """Reachable or not, as the schedule wants it; counts what it hears of each transaction."""

    def __init__(self) -> None:
        self.is_reachable = True
        self.answers = True
        self.heard: list[Uid] = []
        self.seconds = 0.0

    def clock(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds)

    def report(
        self, peer: Peer, called_ae: str, commitments: Iterable[Commitment]
    ) -> Iterator[tuple[Commitment, bool]]:
        """Take the reports, or fail before or after one was heard."""
        assert (PEER, "PACSNODE") == (peer, called_ae)
        if not self.is_reachable:
            raise PeerFailure("unreachable")
        for commitment in commitments:
            assert commitment.verdict is not None
            self.heard.append(commitment.transaction.transaction_uid)
            if not self.answers:
                raise PeerFailure("gone before its answer came")
            yield commitment, True

    def post(self, commitment: Commitment, answered: Callable[[bool | None], None]) -> bool:
        """Be the line of a request, which is over where the requester cannot be reached."""
        if not self.is_reachable:
            return False
        self.heard.append(commitment.transaction.transaction_uid)
        answered(True if self.answers else None)
        return True

    def cut(self) -> None:
        """Nothing is under way between two rounds."""


def request(uid: str, requester: Requester, *names: str) -> CommitmentRequest:
    """A request of the peer."""
    references = tuple(Reference(CT, Uid(name)) for name in names or ("1.2.3",))
    return CommitmentRequest(Uid(uid), references, PEER.ae_title, "PACSNODE", requester.clock())


def commitments(ledger: Ledger, archive: Archive, requester: Requester) -> Commitments:
    """As a node has them after a start; its thread does not run."""
    return Commitments(
        ledger,
        Judge(archive, {CT}),
        requester,
        {PEER.ae_title: PEER},
        settings=Settings(),
        clock=requester.clock,
        monotonic=lambda: requester.seconds,
    )


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An empty one: the verdicts do not matter here."""
    with closing(SqliteIndex(tmp_path / "index.db")) as index:
        yield Archive(MemoryStore(), index, lambda: BEGAN)


def test_none_is_lost(tmp_path: Path, archive: Archive) -> None:
    """In 200 random schedules every transaction is heard of at least once, and then forgotten."""
    for seed in range(200):
        chance, requester = random.Random(seed), Requester()
        asked: set[str] = set()
        path = tmp_path / f"{seed}.db"
        for _ in range(chance.randint(1, 3)):  # starts of the node
            with closing(Ledger(path, capacity=100)) as ledger:
                node = commitments(ledger, archive, requester)
                for step in range(chance.randint(1, 5)):
                    requester.is_reachable, requester.answers = chance.random() < 0.4, chance.random() < 0.7
                    if chance.random() < 0.6:
                        uid = f"2.25.{seed}.{len(asked)}.{step}"
                        node.request(request(uid, requester), requester if chance.random() < 0.5 else None)
                        asked.add(uid)
                    if chance.random() < 0.7:
                        requester.seconds += chance.choice([0.0, node.work()])
        requester.is_reachable = requester.answers = True
        with closing(Ledger(path, capacity=100)) as ledger:
            node = commitments(ledger, archive, requester)
            node.work()

            assert asked == set(map(str, requester.heard)), f"seed {seed}"
            assert 0 == node.count == len(ledger.open_transactions()), f"seed {seed}"


def test_back_off_and_giving_up(tmp_path: Path, archive: Archive) -> None:
    """An unreachable peer is called after 10 s, 20 s … an hour, and given up after 72 h."""
    requester = Requester()
    requester.is_reachable = False
    with closing(Ledger(tmp_path / "ledger.db", capacity=1)) as ledger:
        node = commitments(ledger, archive, requester)
        node.request(request("2.25.1", requester), None)
        pauses = []
        while node.count:
            pauses.append(node.work())
            requester.seconds += pauses[-1]

    assert [10.0, 20.0, 40.0] == pauses[:3]
    assert 3600.0 == max(pauses[:-1])
    assert 72 * 3600 == sum(pauses[:-1])


def test_duplicate_transaction_uid(tmp_path: Path) -> None:
    """The same request again is one transaction; other instances under its UID have failed with 0131H."""
    requester = Requester()
    with closing(Ledger(tmp_path / "ledger.db", capacity=9)) as ledger:
        first = ledger.enter(request("2.25.1", requester))
        again = ledger.enter(request("2.25.1", requester))
        other = ledger.enter(request("2.25.1", requester, "1.2.4"))

        assert first == again != other
        assert (FailureReason.DUPLICATE_TRANSACTION_UID,) == ledger.read(other).verdict
