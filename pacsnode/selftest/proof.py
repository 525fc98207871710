"""What came of a claim, and all that came of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """Was a claim found to be so? What cannot be provoked from outside proves nothing either way."""

    PROVED = "proved"
    FAILED = "failed"
    NOT_PROVOKED = "not provoked"


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim, put to the test. ``subject``: what it belongs to, e.g. a service; ``detail``: what was found instead,
    or why it was not provoked."""

    subject: str
    claim: str
    verdict: Verdict
    detail: str = ""


def proof(subject: str, claim: str, trouble: str) -> Proof:
    """Proved where there is no trouble."""
    return Proof(subject, claim, Verdict.FAILED if trouble else Verdict.PROVED, trouble)


@dataclass(frozen=True, slots=True)
class Report:
    """All proofs."""

    proofs: tuple[Proof, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Was everything proved that can be provoked, and anything at all?"""
        return self.count(Verdict.PROVED) > 0 and not self.count(Verdict.FAILED)

    def count(self, verdict: Verdict) -> int:
        """How many claims came out so."""
        return sum(one.verdict is verdict for one in self.proofs)

    def of(self, verdict: Verdict) -> list[Proof]:
        """The claims that came out so."""
        return [one for one in self.proofs if one.verdict is verdict]

    def by_subject(self) -> Iterator[tuple[str, dict[Verdict, int]]]:
        """How the claims of each subject came out."""
        for subject in dict.fromkeys(one.subject for one in self.proofs):
            mine = [one.verdict for one in self.proofs if one.subject == subject]
            yield subject, {verdict: mine.count(verdict) for verdict in Verdict}
