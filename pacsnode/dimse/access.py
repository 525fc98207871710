"""Who may associate with us, what a peer may do here, and where a C-MOVE may send to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from pacsnode.dimse import negotiation
from pacsnode.dimse.negotiation import Rejection, Request
from pacsnode.errors import NotAllowed, UnknownDestination
from pacsnode.model import Peer
from pacsnode.security.bindings import Binding, Caller

_UNBOUND: Mapping[str, Binding] = MappingProxyType({})


class Access:
    """The rules of the configuration; immutable."""

    def __init__(
        self,
        *,
        titles: Iterable[str],
        peers: Iterable[Peer],
        any_called_ae: bool = False,
        bindings: Mapping[str, Binding] = _UNBOUND,
    ) -> None:
        """``titles``: the AE titles we answer to. ``bindings``: what is asked of peers, by their AE titles."""
        self._bindings = bindings
        self._titles = frozenset(titles)
        self._any_called_ae = any_called_ae
        self._peers = {peer.ae_title: peer for peer in peers}

    def refuse(self, request: Request, caller: Caller, *, accepts_unknown: bool) -> Rejection | None:
        """Why this association is not to be, or None (PS3.8 9.3.4). ``accepts_unknown``: the listener's rule."""
        if not request.speaks_version_1:
            return negotiation.BAD_PROTOCOL_VERSION
        if request.application_context != negotiation.APPLICATION_CONTEXT:
            return negotiation.BAD_APPLICATION_CONTEXT
        if not self._answers_to(request.called_ae):
            return negotiation.CALLED_AE_UNKNOWN
        if not _is_title(request.calling_ae) or not (accepts_unknown or request.calling_ae in self._peers):
            return negotiation.CALLING_AE_UNKNOWN
        binding = self._bindings.get(request.calling_ae)
        if binding is not None and (mismatch := binding.mismatch(caller)):
            return replace(negotiation.NOT_THAT_PEER, words=f"{negotiation.NOT_THAT_PEER.words}: {mismatch}")
        return None

    def is_unknown(self, request: Request) -> bool:
        """Is the calling AE title one that could be a peer's, and is none?"""
        return _is_title(request.calling_ae) and request.calling_ae not in self._peers

    def associations(self, calling_ae: str) -> int:
        """How many associations it may have at a time; 0 is as many as any peer."""
        peer = self._peers.get(calling_ae)
        return peer.max_associations if peer is not None else 0

    def check(self, calling_ae: str, operation: str) -> None:
        """Raises NotAllowed when a configured peer may not do this. Unknown peers that got in may do everything."""
        peer = self._peers.get(calling_ae)
        if peer is not None and operation not in peer.allow:
            raise NotAllowed(f"this AE title may not {operation} here")

    def matches_unknown(self, calling_ae: str) -> bool:
        """Does an empty required attribute match in the queries of this AE title (PS3.4 C.2.2.1.2)?"""
        peer = self._peers.get(calling_ae)
        return peer is None or peer.match_unknown

    def destination(self, ae_title: str, *, calling_ae: str) -> Peer:
        """Where a C-MOVE of this peer may send to: configured peers, those of its ``move_destinations``.

        Raises UnknownDestination.
        """
        peer, asking = self._peers.get(ae_title), self._peers.get(calling_ae)
        if peer is None:
            raise UnknownDestination("move destination is not among the configured peers")
        if asking is not None and asking.move_destinations is not None and ae_title not in asking.move_destinations:
            raise UnknownDestination("move destination is not one of this AE title's")
        return peer

    def _answers_to(self, called_ae: str) -> bool:
        if self._any_called_ae:
            return not called_ae or _is_title(called_ae)  # some devices leave it blank
        return called_ae in self._titles


def _is_title(text: str) -> bool:
    """PS3.5 6.2, VR AE."""
    return bool(text) and text.isascii() and text.isprintable() and "\\" not in text
