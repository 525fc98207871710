"""C-GET as SCU (PS3.4 C.4.3.1): one instance of ours that a peer has, too, back from it."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pacsnode.config import Limits
from pacsnode.dicom import identifier, syntax
from pacsnode.dimse import contexts, peers, status
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.model import Instance, Peer, Uid
from pacsnode.wire.command import MEDIUM_PRIORITY, RESPONSE_BIT, CommandField, Element
from pacsnode.wire.items import Roles

_MESSAGE_ID = 1
_IN_MEMORY_BYTES = 4 * 1024 * 1024  # larger ones go to a file without a name
_GET = next(
    Uid(uid)
    for uid, (service, root) in contexts.QUERY_RETRIEVE.items()
    if service is CommandField.C_GET_RQ and root is identifier.Root.STUDY
)


class PeerCopies:
    """What a peer has of our instances. Safe to use from several threads."""

    def __init__(
        self,
        peer: Peer,
        versions: Callable[[Uid], Sequence[Instance]],
        *,
        ae_title: str,
        limits: Limits,
        folder: Path,
        secure: ssl.SSLContext | None = None,
    ) -> None:
        """``versions``: those that we know of an instance. ``folder``: where there is room for a large data set.

        ``secure``: for peers with TLS, see ``tls.for_requestor``.
        """
        self._peer = peer
        self._versions = versions
        self._ae_title = ae_title
        self._limits = limits
        self._folder = folder
        self._secure = secure

    @contextmanager
    def fetch(self, uid: Uid, digest: str) -> Iterator[BinaryIO | None]:
        """The data set that the peer sends in the transfer syntax we had it in; None where it sends none.

        Whether it is the one we had has to be looked at. Raises PeerFailure.
        """
        wanted = next((version for version in self._versions(uid) if version.stored.digest == digest), None)
        if wanted is None:
            yield None
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(self._folder)) as target:
            has_come = self._get(wanted, target)
            target.seek(0)
            yield cast("BinaryIO", target) if has_come else None

    def _get(self, instance: Instance, target: tempfile.SpooledTemporaryFile[bytes]) -> bool:
        pair = (instance.header.sop_class_uid, instance.stored.transfer_syntax_uid)
        pairs = [(_GET, syntax.IMPLICIT_VR_LITTLE_ENDIAN), pair]
        roles: dict[str, Roles] = {pair[0]: Roles(scu=False, scp=True)}
        try:
            with peers.associate(
                self._peer,
                pairs,
                calling_ae=self._ae_title,
                limits=self._limits,
                secure=self._secure,
                roles=roles,
            ) as association:
                context = next((one for one in association.contexts.values() if one.abstract_syntax == _GET), None)
                if context is None:
                    raise PeerFailure("does not accept C-GET")
                self._ask(association, context, instance)
                return self._take(association, instance, target)
        except (PeerFailure, ProtocolViolation) as error:
            raise PeerFailure(f"{self._peer.name}: {error}") from error

    def _ask(self, association: Association, context: PresentationContext, instance: Instance) -> None:
        command: dict[Element, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: _GET,
            Element.COMMAND_FIELD: CommandField.C_GET_RQ,
            Element.MESSAGE_ID: _MESSAGE_ID,
            Element.PRIORITY: MEDIUM_PRIORITY,
        }
        keys = identifier.encode_instance_keys(instance.header, context.transfer_syntax)
        association.send(context.context_id, command, keys)

    def _take(self, association: Association, instance: Instance, target: tempfile.SpooledTemporaryFile[bytes]) -> bool:
        """Serve the sub-operations until the final response: was there the one we want?"""
        has_come = False
        while (message := association.next_message(self._limits.response)) is not None:
            if message.command_field == CommandField.C_STORE_RQ:
                named = message.command.text(Element.AFFECTED_SOP_INSTANCE_UID)
                if named == instance.header.sop_instance_uid and not has_come:
                    self._copy(message, target)
                    has_come = True
                message.drain()
                uid = message.command.elements.get(Element.AFFECTED_SOP_INSTANCE_UID, b"")
                association.respond(message, status.SUCCESS, {Element.AFFECTED_SOP_INSTANCE_UID: uid})
                continue
            if message.command_field != CommandField.C_GET_RQ | RESPONSE_BIT:
                raise ProtocolViolation("neither a sub-operation nor the response")
            message.drain()
            if message.command.number(Element.STATUS) != status.PENDING:
                return has_come
        association.close()
        raise PeerFailure("association released within an operation")

    def _copy(self, message: Message, target: tempfile.SpooledTemporaryFile[bytes]) -> None:
        for piece in message.fragments():
            if target.tell() + len(piece) > self._limits.dataset:
                raise PeerFailure("sends more than dataset in table [limits] has room for")
            target.write(piece)
