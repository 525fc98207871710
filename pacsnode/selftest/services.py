"""Statuses: every service is asked for what is right and for all that is wrong, and says what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO

from pydicom.dataset import Dataset

from pacsnode.conformance.claims import GET, MOVE, OTHER, Claims, StatusClaim
from pacsnode.dimse import contexts
from pacsnode.errors import IndexFailure, StoreError, StoreFull
from pacsnode.selftest import commitments, requests
from pacsnode.selftest.proof import Proof, Verdict, proof
from pacsnode.selftest.queries import find_contexts
from pacsnode.selftest.samples import CT, MR, ROOT, SOP_CLASSES, SYNTAXES, samples
from pacsnode.selftest.scene import DEAD, DENIED, PARTIAL, Scene
from pacsnode.selftest.scratch import ScratchNode
from pacsnode.selftest.scu import CALLING, Answers, Context, associated, encoded

_IMPLICIT = "1.2.840.10008.1.2"
_ECHO: Context = (contexts.VERIFICATION, _IMPLICIT)
_CT: Context = (CT, _IMPLICIT)
_BEYOND_THE_LIMIT = 100_000  # bytes; of the data set that the node with narrow limits takes
_NOWHERE = "SELFTESTNOWHERE"

Say = Callable[[str, Answers | int], None]
"""Takes down what a service has answered."""


def prove_statuses(scene: Scene, claims: Claims) -> Iterator[Proof]:
    """Each status that is claimed occurs, and no other one. The samples have to be stored."""
    said: dict[str, set[int]] = {}

    def say(service: str, answers: Answers | int) -> None:
        codes = [answers] if isinstance(answers, int) else answers.codes or [-1]
        said.setdefault(service, set()).update(codes)

    for misuse in (_echo, _store, _find, _get, _move, _other):
        misuse(scene, claims, say)
    for code in commitments.requested(scene):
        say("N-ACTION", code)
    for code in commitments.answered(scene):
        say("N-EVENT-REPORT", code)
    for claim in claims.statuses:
        yield _judged(claim, said.get(claim.service, set()))
    for service, codes in said.items():
        unclaimed = codes - {claim.code for claim in claims.statuses if claim.service == service} - {-1}
        yield proof(service, "no other status", " ".join(f"{code:04X} occurs" for code in sorted(unclaimed)))


def _judged(claim: StatusClaim, said: set[int]) -> Proof:
    words = f"{claim.code:04X} {' '.join(claim.meanings)}"
    if claim.code not in said and claim.errors and all(map(_is_ours, claim.errors)):
        reason = "only a disk or an index that fails brings it about"
        return Proof(claim.service, words, Verdict.NOT_PROVOKED, reason)
    return proof(claim.service, words, "" if claim.code in said else "does not occur")


def _is_ours(error: type[Exception]) -> bool:
    return issubclass(error, (StoreError, IndexFailure)) and error is not StoreFull


def _echo(scene: Scene, claims: Claims, say: Say) -> None:
    for calling in (CALLING, DENIED):
        with associated(scene.main.port, scene.called, [_ECHO], calling=calling) as scu:
            say("C-ECHO", scu.ask(requests.echo(), _ECHO))


def _image(instance: str, **changes: object) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, instance
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = "SELFTEST", f"{ROOT}.9", f"{ROOT}.9.1"
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def _store(scene: Scene, claims: Claims, say: Say) -> None:
    good, uid = _image(f"{ROOT}.6.1"), f"{ROOT}.6.1"
    raw = encoded(good, _IMPLICIT).getvalue()
    twice = encoded(_image(uid, PatientName="A"), _IMPLICIT).getvalue() + encoded(
        _only(PatientName="B"), _IMPLICIT).getvalue()  # fmt: skip
    other = encoded(_image(uid, StudyDescription="OTHER"), _IMPLICIT).getvalue()
    wrong = (
        (CT, uid, raw),
        (CT, uid, other),
        (MR, uid, raw),
        (CT, f"{uid}.1", raw),
        (CT, f"{uid}.2", encoded(_image(f"{uid}.2"), _IMPLICIT).getvalue()[:-3]),
        (CT, f"{uid}.3", encoded(_image(f"{uid}.3", StudyInstanceUID=None), _IMPLICIT).getvalue()),
        (CT, uid, twice),
        (CT, "1.2.A", encoded(_image("1.2.A"), _IMPLICIT).getvalue()),
    )
    large = encoded(_image(f"{uid}.4", ImageComments="x" * _BEYOND_THE_LIMIT), _IMPLICIT).getvalue()
    for node, calling, messages in (
        (scene.main, CALLING, wrong),
        (scene.main, DENIED, wrong[:1]),
        (scene.strict, CALLING, [(CT, f"{uid}.4", large)]),
        (scene.full, CALLING, wrong[:1]),
    ):
        with associated(node.port, scene.called, [_CT], calling=calling) as scu:
            for sop_class, instance, data in messages:
                say("C-STORE", scu.ask(requests.store(sop_class, instance, BytesIO(data)), _CT))


def _only(**values: str) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _find(scene: Scene, claims: Claims, say: Say) -> None:
    context = next(iter(find_contexts(claims).values()))
    uid, syntax = context
    other = (claims.of_service(MOVE)[0].uid, _IMPLICIT)
    asked = (
        requests.identifier(syntax, "STUDY", StudyInstanceUID=""),
        requests.identifier(syntax, "STUDY", StudyInstanceUID="", PatientComments=""),
        requests.identifier(syntax, "NOLEVEL", StudyInstanceUID=""),
        requests.identifier(syntax, "STUDY", StudyDate="yesterday"),
    )
    with associated(scene.main.port, scene.called, [context, other]) as scu:
        for identifier in asked:
            say("C-FIND", scu.ask(requests.find(uid, identifier), context))
        say("C-FIND", scu.ask(requests.find(other[0], requests.identifier(_IMPLICIT, "STUDY")), other))
        cancelled = requests.find(uid, requests.identifier(syntax, "IMAGE", SOPInstanceUID=""))
        say("C-FIND", scu.ask(cancelled, context, then_cancel=True))
    with associated(scene.main.port, scene.called, [context], calling=DENIED) as scu:
        say("C-FIND", scu.ask(requests.find(uid, asked[0]), context))
    if claims.config.limits.results:
        fill(scene.strict, scene.called)
        with associated(scene.strict.port, scene.called, [context]) as scu:
            say("C-FIND", scu.ask(requests.find(uid, asked[0]), context))


def fill(node: ScratchNode, called: str) -> None:
    """Store the samples. A status is no matter here: what is missing will be missed."""
    pairs = sorted({(sample.sop_class, sample.transfer_syntax) for sample in samples()})
    with associated(node.port, called, pairs) as scu:
        for sample in samples():
            context = (sample.sop_class, sample.transfer_syntax)
            scu.ask(requests.store(sample.sop_class, sample.instance, encoded(sample.data_set(), context[1])), context)


def _get(scene: Scene, claims: Claims, say: Say) -> None:
    context = _retrieve_context(claims, GET)
    every = [(uid, syntax) for uid in SOP_CLASSES for syntax in SYNTAXES]
    for storage, cancels in ((every, False), (every, True), (every[:2], False), ([], False)):
        scp_of = dict.fromkeys(uid for uid, _ in storage)
        with associated(scene.main.port, scene.called, [context, *storage], scp_of=scp_of) as scu:
            say("C-GET", scu.ask(requests.get(context[0], _everything()), context, then_cancel=cancels))
    _refused_retrieves(scene, context, say, "C-GET", lambda identifier: requests.get(context[0], identifier))


def _move(scene: Scene, claims: Claims, say: Say) -> None:
    context = _retrieve_context(claims, MOVE)

    def move(destination: str, *, cancels: bool = False) -> None:
        with associated(scene.main.port, scene.called, [context]) as scu:
            request = requests.move(context[0], _everything(), destination)
            say("C-MOVE", scu.ask(request, context, then_cancel=cancels))

    move(CALLING, cancels=True)
    for destination in (CALLING, PARTIAL, DEAD, _NOWHERE):
        move(destination)
    _refused_retrieves(scene, context, say, "C-MOVE", lambda one: requests.move(context[0], one, CALLING))


def _refused_retrieves(
    scene: Scene, context: Context, say: Say, service: str, request: Callable[[BytesIO], object]
) -> None:
    with associated(scene.main.port, scene.called, [context]) as scu:
        for keys in ({"StudyInstanceUID": ""}, {"StudyInstanceUID": "1.*"}, {"StudyDate": "20010101"}):
            say(service, scu.ask(request(requests.identifier(_IMPLICIT, "STUDY", **keys)), context))
    with associated(scene.main.port, scene.called, [context], calling=DENIED) as scu:
        say(service, scu.ask(request(_everything()), context))
    # On a presentation context of another service.
    with associated(scene.main.port, scene.called, [_ECHO]) as scu:
        say(service, scu.ask(request(_everything()), _ECHO))


def _retrieve_context(claims: Claims, service: str) -> Context:
    return claims.of_service(service)[0].uid, _IMPLICIT


def _other(scene: Scene, claims: Claims, say: Say) -> None:
    """An operation that no service has; -1 is the end of the association."""
    with associated(scene.main.port, scene.called, [_ECHO]) as scu:
        say(OTHER, scu.ask(requests.attributes(), _ECHO))


def _everything() -> BytesIO:
    """All studies: of every SOP class and transfer syntax of the samples."""
    studies = "\\".join(f"{ROOT}.1.{number}" for number in range(1, 7))
    return requests.identifier(_IMPLICIT, "STUDY", StudyInstanceUID=studies)
