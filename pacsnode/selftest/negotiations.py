"""Proof of what is negotiated: every presentation context and role, every rejection, and that nothing else is said."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pacsnode.conformance.claims import GET, MOVE, QUERY, STORAGE, Claims, SopClass
from pacsnode.dicom import syntax
from pacsnode.dimse import negotiation
from pacsnode.selftest import requests
from pacsnode.selftest.proof import Proof, proof
from pacsnode.selftest.samples import ROOT
from pacsnode.selftest.scene import GUARDED, Scene
from pacsnode.selftest.scratch import LOOPBACK, ScratchNode
from pacsnode.selftest.scu import CALLING, Context, Scu, associated, encoded
from pacsnode.wire.items import IdentityType, ItemType, ProposedContext, Roles, item

_MOST_CONTEXTS = 128
_SECONDS = 10.0
_REJECTED = 3  # type of an A-ASSOCIATE-RJ
_PAUSE_SECONDS = 0.01
_MAXIMUM_LENGTH = bytes([ItemType.MAXIMUM_LENGTH, 0, 0, 4])  # the first sub-item of those that we make


def prove_contexts(scene: Scene, claims: Claims) -> Iterator[Proof]:
    """Every SOP class in every transfer syntax, with its roles; an instance of each SOP class and of each syntax."""
    troubles: dict[str, str] = {}
    stored: set[str] = set()
    classes = {one.uid: one for one in claims.sop_classes}
    pairs = _pairs(claims.sop_classes)
    while group := list(islice(pairs, _MOST_CONTEXTS)):
        uids = dict.fromkeys(uid for uid, _ in group)
        with associated(scene.main.port, scene.called, group, scp_of=uids) as scu:
            for context in group:
                trouble = _trouble(scu, context, classes[context[0]], stored)
                if trouble:
                    troubles.setdefault(context[0], f"{context[1]}: {trouble}")
    for one in claims.sop_classes:
        syntaxes = len(one.transfer_syntaxes)
        yield proof(one.service, f"{one.name} in {syntaxes} transfer syntaxes", troubles.get(one.uid, ""))


def _pairs(classes: Iterable[SopClass]) -> Iterator[Context]:
    return ((one.uid, transfer_syntax) for one in classes for transfer_syntax in one.transfer_syntaxes)


def _trouble(scu: Scu, context: Context, sop_class: SopClass, stored: set[str]) -> str:
    if context not in scu.accepted:
        return "is not accepted"
    if scu.may_be_scp[context] != sop_class.is_scu:
        return "role selection is not answered so"
    if sop_class.service != STORAGE or stored >= set(context):
        return ""
    code = _store_one(scu, context, f"{ROOT}.9.2.{len(stored)}")
    if code == 0x0000:
        stored.update(context)
        return ""
    return f"an instance is answered with {code:04X}"


def _store_one(scu: Scu, context: Context, instance: str) -> int:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = context[0], instance
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID = f"{ROOT}.9", f"{ROOT}.9.1", "SELFTEST"
    # What its SOP class is there for, without which an encapsulated document or a waveform is refused.
    made.EncapsulatedDocument, made.WaveformSequence = b"\0\0", Sequence([Dataset()])
    request = requests.store(context[0], instance, encoded(made, context[1]))
    return scu.ask(request, context).code


def prove_extended(scene: Scene, claims: Claims) -> Iterator[Proof]:
    """SOP Class Extended Negotiation is answered as is claimed, and nowhere else."""
    for one in claims.sop_classes:
        if one.service not in (QUERY, MOVE, GET):
            continue
        with associated(
            scene.main.port, scene.called, [(one.uid, one.transfer_syntaxes[0])], extended=[one.uid]
        ) as scu:
            answered = scu.extended.get(one.uid, b"")
        claimed = claims.extended.get(one.uid, b"")
        words = f"{one.name}, extended negotiation: {claimed.hex(' ') or 'not answered'}"
        is_so = answered.rstrip(b"\0") == claimed.rstrip(b"\0")  # what is not said is not supported (PS3.4 C.5.1.1.1)
        yield proof(one.service, words, "" if is_so else f"{answered.hex(' ') or 'nothing'} is answered")


def prove_rejections(scene: Scene, claims: Claims) -> Iterator[Proof]:
    """Each rejection that is claimed. The node with narrow limits is stopped by this."""
    found = [_rejection(scene.main, request) for request in _refused(scene.called)]
    found += _when_busy(scene)
    for claimed, when in claims.rejections.items():
        code = (claimed.result, claimed.source, claimed.reason)
        yield proof("Rejections", f"{code[0]},{code[1]},{code[2]} {when}", "" if code in found else "does not occur")


def _refused(called: str) -> Iterator[bytes]:
    """Requests that are refused for what they say."""
    yield _request("NOBODY\\HERE", CALLING)
    yield _request(called, "NOBODY\\THERE")
    good = _request(called, CALLING)
    application_context = negotiation.APPLICATION_CONTEXT.encode("ascii")
    yield good.replace(application_context, application_context[:-1] + b"9")
    yield good[:6] + b"\0\2" + good[8:]  # another version of the protocol (PS3.8 9.3.2)
    yield _with_user(_request(called, GUARDED), bytes([IdentityType.KERBEROS, 0, 0, 1, 0, 0, 0]))


def _when_busy(scene: Scene) -> Iterator[tuple[int, int, int]]:
    """Associations at a time of one AE title; then those that come while the node drains."""
    port = scene.strict.port
    with associated(port, scene.called, [_VERIFICATION]):
        busy = _rejection(scene.strict, _request(scene.called, CALLING))
        yield busy
        scene.strict.ask_to_stop()
        # The signal takes a moment to be heard; until then the node goes on saying that it is busy.
        deadline, pause = time.monotonic() + _SECONDS, threading.Event()
        while (rejection := _rejection(scene.strict, _request(scene.called, CALLING))) == busy:
            if time.monotonic() > deadline:
                return
            pause.wait(_PAUSE_SECONDS)
        yield rejection


_VERIFICATION = ("1.2.840.10008.1.1", syntax.IMPLICIT_VR_LITTLE_ENDIAN)


def _request(called: str, calling: str) -> bytes:
    proposed = [ProposedContext(1, _VERIFICATION[0], (_VERIFICATION[1],))]
    roles: dict[str, Roles] = {}
    return negotiation.request(
        calling_ae=calling, called_ae=called, proposed=proposed, maximum_length=16384, roles=roles
    )


def _with_user(request: bytes, identity: bytes) -> bytes:
    """The request with a user identity sub-item; user information is its last item (PS3.8 9.3.2)."""
    start = request.index(_MAXIMUM_LENGTH) - 4
    user = request[start + 4 :] + item(ItemType.USER_IDENTITY, identity)
    body = request[6:start] + item(ItemType.USER_INFORMATION, user)
    return request[:2] + len(body).to_bytes(4, "big") + body


def _rejection(node: ScratchNode, request: bytes) -> tuple[int, int, int]:
    """Result, source and reason; zeros where it is none."""
    answer = b""
    with socket.create_connection((LOOPBACK, node.port), timeout=_SECONDS) as sock:
        sock.sendall(request)
        while len(answer) < 10 and (piece := sock.recv(10 - len(answer))):
            answer += piece
    if len(answer) < 10 or answer[0] != _REJECTED:
        return 0, 0, 0
    return answer[7], answer[8], answer[9]
