"""Storage commitment: requests right and wrong, reports on the same association and on another, every reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from pacsnode.commitment.ledger import Ledger
from pacsnode.conformance.claims import COMMITMENT, Claims
from pacsnode.dimse import contexts
from pacsnode.model import Reference, Uid
from pacsnode.selftest import requests
from pacsnode.selftest.proof import Proof, proof
from pacsnode.selftest.samples import CT, MR, ROOT, Sample, samples
from pacsnode.selftest.scene import DEAD, DENIED, Scene
from pacsnode.selftest.scu import CALLING, Context, Scu, associated, decoded, reported

_CONTEXT: Context = (contexts.STORAGE_COMMITMENT, "1.2.840.10008.1.2.1")
_UNKNOWN = f"{ROOT}.7.7"
_NO_STORAGE_CLASS = "1.2.3.4"


def requested(scene: Scene) -> Iterator[int]:
    """Statuses of N-ACTION for requests of all kinds."""
    for port, calling in ((scene.main.port, CALLING), (scene.main.port, DENIED)):
        with associated(port, scene.called, [_CONTEXT, ("1.2.840.10008.1.1", _CONTEXT[1])], calling=calling) as scu:
            good = requests.references(f"{ROOT}.8.1", [_pair(next(samples()))], _CONTEXT[1])
            without = requests.references("", [], _CONTEXT[1])
            for wrong in (
                requests.action(without),
                requests.action(good, sop_class="1.2.840.10008.1.1"),
                requests.action(good, instance="1.2.3"),
                requests.action(good, kind=7),
            ):
                yield scu.ask(wrong, _CONTEXT).code
            yield scu.ask(requests.action(good), _CONTEXT).code
    with associated(scene.strict.port, scene.called, [_CONTEXT], calling=DEAD) as scu:
        for number in (2, 3):  # nobody takes the first report
            action = requests.references(f"{ROOT}.8.{number}", [_pair(next(samples()))], _CONTEXT[1])
            yield scu.ask(requests.action(action), _CONTEXT).code


def answered(scene: Scene) -> Iterator[int]:
    """Statuses of N-EVENT-REPORT for reports of all kinds, on something that the node is made to have asked."""
    transaction, pair = f"{ROOT}.8.9", _pair(next(samples()))
    with closing(Ledger(scene.main.data / "commitments.db", capacity=1)) as ledger:
        reference = Reference(Uid(pair[0]), Uid(pair[1]))
        ledger.inquiries.enter(Uid(transaction), CALLING, [reference], datetime.now(UTC))
    good = requests.references(transaction, [pair], _CONTEXT[1])
    too_long = BytesIO(bytes(scene.limits.identifier + 2))
    for calling in (CALLING, DENIED):
        with associated(
            scene.main.port, scene.called, [_CONTEXT], calling=calling, scp_of=[contexts.STORAGE_COMMITMENT]
        ) as scu:
            for report in (
                requests.report(good),
                requests.report(good, sop_class="1.2.840.10008.1.1"),
                requests.report(good, instance="1.2.3"),
                requests.report(good, kind=7),
                requests.report(requests.references(f"{transaction}.1", [pair], _CONTEXT[1])),
                requests.report(too_long),
            ):
                yield scu.ask(report, _CONTEXT).code


def prove_reports(scene: Scene, claims: Claims) -> Iterator[Proof]:
    """The verdict of PS3.4 J.3.3 on both kinds of association, and the reasons. Damages an object of the scene."""
    kept, damaged = list(samples())[:2]
    report = _on_another_association(scene, kept)
    yield proof(COMMITMENT, "report on an association of the node", _wrong(report, 1, committed=1))
    yield proof(
        COMMITMENT, "report on the association of the request", _wrong(_on_the_same(scene, kept), 1, committed=1)
    )
    _damage(scene.main.data, damaged)
    reasons = dict(_reasons(scene, kept, damaged))
    for reason, meaning in claims.failure_reasons.items():
        trouble = "" if int(reason) in reasons.values() else "does not occur"
        yield proof(COMMITMENT, f"failure reason {reason:04X}: {meaning}", trouble)
    unclaimed = {reason for reason in reasons.values() if reason} - set(map(int, claims.failure_reasons))
    yield proof(COMMITMENT, "no other failure reason", " ".join(f"{one:04X} occurs" for one in sorted(unclaimed)))


def _pair(sample: Sample) -> tuple[str, str]:
    return sample.sop_class, sample.instance


def _on_another_association(scene: Scene, kept: Sample) -> tuple[int, Any] | None:
    transaction = f"{ROOT}.8.4"
    with associated(scene.main.port, scene.called, [_CONTEXT]) as scu:
        action = requests.references(transaction, [_pair(kept)], _CONTEXT[1])
        # Released in the same breath, so that the report has to come another way, now or when it is tried again.
        scu.ask(requests.action(action), _CONTEXT)
    return scene.received.next_report(transaction)


def _on_the_same(scene: Scene, kept: Sample) -> tuple[int, Any] | None:
    with associated(scene.main.port, scene.called, [_CONTEXT]) as scu:
        scu.ask(requests.action(requests.references(f"{ROOT}.8.5", [_pair(kept)], _CONTEXT[1])), _CONTEXT)
        return _next_report(scu)


def _reasons(scene: Scene, kept: Sample, damaged: Sample) -> Iterator[tuple[str, int]]:
    """The reason for each instance of a request where everything is wrong, and of one whose transaction is taken."""
    other_class = MR if kept.sop_class == CT else CT
    pairs = [(other_class, kept.instance), _pair(damaged), (CT, _UNKNOWN), (_NO_STORAGE_CLASS, f"{_UNKNOWN}.1")]
    with associated(scene.main.port, scene.called, [_CONTEXT], calling=DEAD) as scu:
        number = scu.accepted[_CONTEXT]
        taken = [
            requests.action(requests.references(f"{ROOT}.8.6", wanted, _CONTEXT[1]))
            for wanted in (pairs, [(CT, f"{_UNKNOWN}.2")])
        ]
        for message_id, request in enumerate(taken, 1):
            request.MessageID = message_id
        scu.send([(request, number) for request in taken])
        answered = reports = 0
        waiting: N_EVENT_REPORT | None = None
        while reports < len(taken) and (found := scu.next_message()) is not None:
            message = found[1]
            if isinstance(message, N_EVENT_REPORT):
                reports += 1
                waiting = message
                yield from _failed(decoded(message.EventInformation or BytesIO(), _CONTEXT[1]))
            else:
                answered += 1
            # The first report is not answered before both requests are taken over.
            if answered == len(taken) and waiting is not None:
                scu.send([(reported(waiting), number)])
                waiting = None


def _failed(information: Dataset) -> Iterator[tuple[str, int]]:
    for item in information.get("FailedSOPSequence", []):
        yield str(item.ReferencedSOPInstanceUID), int(item.FailureReason)


def _next_report(scu: Scu) -> tuple[int, Any] | None:
    found = scu.next_message()
    if found is None or not isinstance(found[1], N_EVENT_REPORT):
        return None
    number, report = found
    scu.send([(reported(report), number)])
    return int(report.EventTypeID or 0), decoded(report.EventInformation or BytesIO(), _CONTEXT[1])


def _wrong(report: tuple[int, Any] | None, event_type: int, *, committed: int) -> str:
    if report is None:
        return "no report comes"
    kind, information = report
    found = len(information.get("ReferencedSOPSequence", []))
    return "" if (kind, found) == (event_type, committed) else f"event type {kind} with {found} instances committed"


def _damage(data: Path, sample: Sample) -> None:
    """Turn the last byte of the object around. Raises LookupError where there is none."""
    uid = sample.instance.encode("ascii")
    for path in (data / "objects").rglob("*"):
        if path.is_file() and uid in (raw := path.read_bytes()) and uid + b"." not in raw:
            path.chmod(0o600)
            path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 0xFF]))
            return
    raise LookupError("the node has no object of the sample")
