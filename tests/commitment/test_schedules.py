"""No transaction is lost, whatever restarts and unreachable requesters there are."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from pacsnode.archive import Archive
from pacsnode.commitment.commitments import Commitments
from pacsnode.commitment.ledger import Ledger
from pacsnode.commitment.verdict import Judge
from pacsnode.config import Commitment as Settings
from pacsnode.errors import IndexFailure, PeerFailure
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, Commitment, CommitmentRequest, FailureReason, Peer, Reference, Uid
from pacsnode.storage.memory import MemoryStore
from tests.dimse import images
from tests.dimse.raw_peer import EXPLICIT

PEER = Peer("modality", "MODALITY", "127.0.0.1", 104)
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
PEERS = MappingProxyType({PEER.ae_title: PEER})
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HERE, MISSING = images.uid_of(1), "2.25.404"
VERDICTS = {HERE: None, MISSING: FailureReason.NO_SUCH_OBJECT_INSTANCE}
_MOST_ROUNDS = 1000


class Killed(BaseException):
    """The end of the node, which nothing of it notices."""


class Requester:
    """Reachable or not, as the schedule wants it; keeps what it hears. Around it, the node may be killed."""

    def __init__(self) -> None:
        self.is_reachable = True
        self.answers = True
        self.heard: list[Commitment] = []
        self.seconds = 0.0
        self.dies_after = math.inf
        """So many times we are asked for something; then the node is killed."""

    @property
    def uids(self) -> set[str]:
        """The transactions of which it heard."""
        return {commitment.transaction.transaction_uid for commitment in self.heard}

    def clock(self) -> datetime:
        self._live()
        return self.now()

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds)

    def report(
        self, peer: Peer, called_ae: str, commitments: Iterable[Commitment]
    ) -> Iterator[tuple[Commitment, bool]]:
        """Take the reports, or fail before or after one was heard."""
        assert (PEER, "PACSNODE") == (peer, called_ae)
        self._live()
        if not self.is_reachable:
            raise PeerFailure("unreachable")
        for commitment in commitments:
            self.heard.append(commitment)
            self._live()
            if not self.answers:
                raise PeerFailure("gone before its answer came")
            yield commitment, True

    def post(self, commitment: Commitment, answered: Callable[[bool | None], None]) -> bool:
        """Be the line of a request, which is over where the requester cannot be reached."""
        if not self.is_reachable:
            return False
        self.heard.append(commitment)
        self._live()
        answered(True if self.answers else None)
        return True

    def cut(self) -> None:
        """Nothing is under way between two rounds."""

    def _live(self) -> None:
        self.dies_after -= 1
        if self.dies_after < 0:
            raise Killed


def request(uid: str, requester: Requester, *names: str) -> CommitmentRequest:
    """A request of the peer."""
    references = tuple(Reference(CT, Uid(name)) for name in names or ("1.2.3",))
    return CommitmentRequest(Uid(uid), references, PEER.ae_title, "PACSNODE", requester.now())


def commitments(
    ledger: Ledger, archive: Archive, requester: Requester, peers: Mapping[str, Peer] = PEERS
) -> Commitments:
    """As a node has them after a start; its threads do not run."""
    return Commitments(
        ledger,
        Judge(archive, {CT}),
        requester,
        peers,
        settings=Settings(),
        clock=requester.clock,
        monotonic=lambda: requester.seconds,
        aside=lambda work, name: work(),
    )


def settle(node: Commitments) -> float:
    """Work until there is nothing left to do now: the seconds until there may be."""
    for _ in range(_MOST_ROUNDS):
        if (seconds := node.work()) > 0:
            return seconds
    raise AssertionError("the node is never done")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """One instance is here."""
    with closing(SqliteIndex(tmp_path / "index.db")) as index:
        archive = Archive(MemoryStore(), index, lambda: BEGAN)
        arrival = Arrival(CT, Uid(HERE), Uid(EXPLICIT), "MODALITY", "PACSNODE", BEGAN)
        with archive.receive(arrival) as ingest:
            ingest.write(images.image(1))
            ingest.commit()
        yield archive


def live_for_a_while(node: Commitments, requester: Requester, chance: random.Random, asked: set[str], run: str) -> None:
    """One life of a node: requests come, time passes, the requester comes and goes. May raise Killed."""
    for step in range(chance.randint(1, 6)):
        requester.is_reachable, requester.answers = chance.random() < 0.4, chance.random() < 0.7
        if chance.random() < 0.6:
            uid = f"{run}.{step}"
            references = chance.choice([(HERE,), (MISSING,), (HERE, MISSING)])
            node.request(request(uid, requester, *references), requester if chance.random() < 0.5 else None)
            asked.add(uid)
        if chance.random() < 0.7:
            requester.seconds += chance.choice([0.0, settle(node)])


def test_none_is_lost(tmp_path: Path, archive: Archive) -> None:
    """In 200 random schedules of restarts, kills and unreachable requesters every transaction is heard of at least
    once, always with the right verdict, and then forgotten."""
    kills = 0
    for seed in range(200):
        chance, requester = random.Random(seed), Requester()
        asked: set[str] = set()
        path = tmp_path / f"{seed}.db"
        for life in range(chance.randint(2, 4)):
            requester.dies_after = chance.choice([math.inf, chance.randint(0, 20)])
            with closing(Ledger(path, capacity=100)) as ledger:
                try:
                    node = commitments(ledger, archive, requester)
                    live_for_a_while(node, requester, chance, asked, f"2.25.{seed}.{life + 1}")
                except Killed:
                    kills += 1
        requester.is_reachable = requester.answers = True
        requester.dies_after = math.inf
        with closing(Ledger(path, capacity=100)) as ledger:
            node = commitments(ledger, archive, requester)
            settle(node)

            assert asked == requester.uids, f"seed {seed}"
            assert 0 == node.count == len(ledger.open_transactions()), f"seed {seed}"
        for heard in requester.heard:
            assert tuple(VERDICTS[one.sop_instance_uid] for one in heard.references) == heard.verdict, f"seed {seed}"
    assert kills > 50  # the schedules are worth something


def test_back_off_and_giving_up(tmp_path: Path, archive: Archive) -> None:
    """An unreachable peer is called after 10 s, 20 s … an hour, and given up after 72 h."""
    requester = Requester()
    requester.is_reachable = False
    with closing(Ledger(tmp_path / "ledger.db", capacity=1)) as ledger:
        node = commitments(ledger, archive, requester)
        node.request(request("2.25.1", requester), None)
        pauses = []
        while node.count:
            pauses.append(settle(node))
            requester.seconds += pauses[-1]

    assert [10.0, 20.0, 40.0] == pauses[:3]
    assert 3600.0 == max(pauses[:-1])
    assert 72 * 3600 == sum(pauses[:-1])


class Picky(Requester):
    """Breaks off at the report of one transaction, and takes all others."""

    def report(
        self, peer: Peer, called_ae: str, commitments: Iterable[Commitment]
    ) -> Iterator[tuple[Commitment, bool]]:
        """See Caller.report."""
        for commitment in commitments:
            if commitment.transaction.transaction_uid == "2.25.1":
                raise PeerFailure("association aborted by the peer")
            self.heard.append(commitment)
            yield commitment, True


def test_a_report_that_the_peer_chokes_on(tmp_path: Path, archive: Archive) -> None:
    """Transactions behind one at whose report the peer breaks off are reported all the same, and at once."""
    requester = Picky()
    with closing(Ledger(tmp_path / "ledger.db", capacity=9)) as ledger:
        node = commitments(ledger, archive, requester)
        for uid in ("2.25.1", "2.25.2", "2.25.3"):
            node.request(request(uid, requester), None)

        assert 10.0 == settle(node)
        assert {"2.25.2", "2.25.3"} == requester.uids
        assert 1 == node.count


def test_nobody_to_call(tmp_path: Path, archive: Archive) -> None:
    """What was not taken on the association of the request is given up where the AE title is no configured peer's."""
    requester = Requester()
    requester.answers = False
    with closing(Ledger(tmp_path / "ledger.db", capacity=9)) as ledger:
        node = commitments(ledger, archive, requester, peers={})
        node.request(request("2.25.1", requester), requester)
        settle(node)

        assert {"2.25.1"} == requester.uids
        assert 0 == node.count == len(ledger.open_transactions())


def test_asked_again_on_another_association(tmp_path: Path, archive: Archive) -> None:
    """A peer that asks again before its transaction is reported hears on the new association."""
    gone, requester = Requester(), Requester()
    gone.is_reachable = False
    with closing(Ledger(tmp_path / "ledger.db", capacity=9)) as ledger:
        node = commitments(ledger, archive, gone)
        node.request(request("2.25.1", requester), None)
        settle(node)
        node.request(request("2.25.1", requester), requester)
        gone.seconds += 10
        settle(node)

        assert (set(), {"2.25.1"}) == (gone.uids, requester.uids)
        assert 0 == node.count


def test_duplicate_transaction_uid(tmp_path: Path) -> None:
    """The same request again, in whatever order, is one transaction; other instances under its UID have failed with
    0131H; another peer's transaction of that UID has nothing to do with it."""
    requester = Requester()
    with closing(Ledger(tmp_path / "ledger.db", capacity=9)) as ledger:
        first = ledger.enter(request("2.25.1", requester, "1.2.3", "1.2.4"))
        again = ledger.enter(request("2.25.1", requester, "1.2.4", "1.2.3"))
        other = ledger.enter(request("2.25.1", requester, "1.2.4"))
        theirs = ledger.enter(replace(request("2.25.1", requester, "1.2.4"), calling_ae="OTHER"))

        assert first == again
        assert 3 == len({first.number, other.number, theirs.number})
        assert (FailureReason.DUPLICATE_TRANSACTION_UID,) == ledger.read(other).verdict
        assert ledger.read(theirs).verdict is None


def test_full(tmp_path: Path) -> None:
    """Beyond its capacity the ledger takes nothing new, but knows what it has."""
    requester = Requester()
    with closing(Ledger(tmp_path / "ledger.db", capacity=1)) as ledger:
        first = ledger.enter(request("2.25.1", requester))
        with pytest.raises(IndexFailure):
            ledger.enter(request("2.25.2", requester))

        assert first == ledger.enter(request("2.25.1", requester))
