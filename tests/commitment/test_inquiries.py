"""What peers said of our instances: never better than the worst they said, and in a file that older versions made."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from pacsnode.commitment.ledger import Ledger
from pacsnode.errors import IndexFailure, NotAllowed
from pacsnode.model import CommitmentReport, CommitmentRequest, Reference, Uid

CT, MR = Uid("1.2.840.10008.5.1.4.1.1.2"), Uid("1.2.840.10008.5.1.4.1.1.4")
AT = datetime(2026, 1, 1, 12, 30, 0, 5, tzinfo=UTC)
ONE, TWO = Reference(CT, Uid("2.25.1.1")), Reference(CT, Uid("2.25.1.2"))
ASKED = Uid("2.25.7")


def report(*committed: Reference, **failed: int) -> CommitmentReport:
    """A report; of failures the reasons by ``one`` and ``two``."""
    uids = {"one": ONE.sop_instance_uid, "two": TWO.sop_instance_uid}
    return CommitmentReport(ASKED, frozenset(committed), {uids[name]: reason for name, reason in failed.items()})


@pytest.mark.parametrize(
    ("reports", "reasons"),
    [
        ([], (None, None)),
        ([report(ONE)], (0, None)),
        ([report(ONE), report(TWO)], (0, 0)),
        ([report(ONE, two=0x0112)], (0, 0x0112)),
        ([report(ONE, TWO), report(one=0x0110)], (0x0110, 0)),
        ([report(one=0x0110), report(ONE, TWO)], (0x0110, 0)),
        ([report(one=0x0110), report(one=0x0112)], (0x0112, None)),
        ([report(Reference(MR, ONE.sop_instance_uid))], (None, None)),
    ],
)
def test_what_is_known_of_each(
    tmp_path: Path, reports: list[CommitmentReport], reasons: tuple[int | None, int | None]
) -> None:
    """Silence is no commitment, one of another SOP class is none, and a failure stays."""
    with closing(Ledger(tmp_path / "commitments.db", capacity=1)) as ledger:
        ledger.inquiries.enter(ASKED, "PEER", [TWO, ONE], AT)
        told = [ledger.inquiries.take(one, "PEER", AT) for one in reports]
        found = ledger.inquiries.find(ASKED)

    assert found is not None
    assert (ONE, TWO) == found.references
    assert reasons == found.reasons
    assert [found] == told[-1:] or not reports
    assert (AT, AT if reports else None) == (found.asked_at, found.reported_at)


def test_of_nobody_or_of_somebody_else(tmp_path: Path) -> None:
    """A report on what was not asked is told apart from one of who was not asked; neither changes anything."""
    with closing(Ledger(tmp_path / "commitments.db", capacity=1)) as ledger:
        assert ledger.inquiries.take(report(ONE), "PEER", AT) is None
        entered = ledger.inquiries.enter(ASKED, "PEER", [ONE], AT)
        with pytest.raises(NotAllowed):
            ledger.inquiries.take(report(ONE), "OTHER", AT)
        assert entered == ledger.inquiries.find(ASKED)


def test_a_refusal_is_kept(tmp_path: Path) -> None:
    """What the peer did not take over is known, with the status."""
    with closing(Ledger(tmp_path / "commitments.db", capacity=1)) as ledger:
        ledger.inquiries.enter(ASKED, "PEER", [ONE], AT)
        ledger.inquiries.refuse(ASKED, 0x0213)
    with closing(Ledger(tmp_path / "commitments.db", capacity=1)) as ledger:
        found = ledger.inquiries.find(ASKED)

    assert found is not None
    assert (0x0213, 1) == (found.refusal, found.unanswered)


def test_a_ledger_of_the_version_before(tmp_path: Path) -> None:
    """A ledger without inquiries gets them when it is opened, and keeps its transactions."""
    path = tmp_path / "commitments.db"
    with closing(Ledger(path, capacity=1)) as ledger:
        transaction = ledger.enter(CommitmentRequest(ASKED, (ONE,), "MODALITY", "PACSNODE", AT))
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("DROP TABLE inquiry")
        connection.pragma("user_version", 1)
    with closing(Ledger(path, capacity=1)) as ledger:
        ledger.inquiries.enter(ASKED, "PEER", [ONE], AT)
        assert [transaction] == ledger.open_transactions()


@pytest.mark.parametrize("version", [0, 3])
def test_a_ledger_that_is_not_known(tmp_path: Path, version: int) -> None:
    """A ledger of a newer version, or something else, is refused and left as it is."""
    path = tmp_path / "commitments.db"
    with closing(Ledger(path, capacity=1)):
        pass
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", version)
    with pytest.raises(IndexFailure, match=f"has schema {version}"):
        Ledger(path, capacity=1)
    with closing(apsw.Connection(str(path))) as connection:
        assert version == connection.pragma("user_version")
