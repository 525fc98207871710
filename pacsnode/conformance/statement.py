"""The conformance statement as Markdown, in the order of PS3.2 Annex A. Values come from the claims and the tables."""

from __future__ import annotations

from pacsnode import __version__
from pacsnode.conformance import installation, specification
from pacsnode.conformance.claims import COMMITMENT, GET, MOVE, QUERY, STORAGE, VERIFICATION, Claims
from pacsnode.conformance.markdown import code, items, table
from pacsnode.dicom import part10

_SERVICES = (
    (VERIFICATION, "answers C-ECHO"),
    (STORAGE, "stores what peers send; sends to move destinations and on C-GET"),
    (QUERY, "answers C-FIND"),
    (MOVE, "answers C-MOVE"),
    (GET, "answers C-GET"),
    (COMMITMENT, "takes responsibility for what is stored; asks peers to take it"),
)


def markdown(claims: Claims) -> str:
    """The whole statement."""
    parts = [_overview, _introduction, _model, specification.lines, installation.lines]
    return "\n".join(line for part in parts for line in part(claims))


def _overview(claims: Claims) -> list[str]:
    node = claims.config.node
    # Who sends where role selection makes it SCU is "user" of storage: C-GET and C-MOVE (PS3.4 C.4.2, C.4.3). An
    # operator can have a peer asked for storage commitment.
    rows = []
    for service, does in _SERVICES:
        classes = claims.of_service(service)
        is_user = service in (STORAGE, COMMITMENT)
        rows.append((service, str(len(classes)), "yes" if is_user else "no", "yes", does))
    return [
        "# DICOM conformance statement of pacsnode",
        "",
        *table(
            ("", ""),
            (
                ("Product", f"pacsnode {__version__}, an archive"),
                ("AE title", ", ".join(map(code, (node.ae_title, *node.aliases)))),
                ("Implementation Class UID", code(part10.IMPLEMENTATION_CLASS_UID)),
                ("Implementation Version Name", code(part10.IMPLEMENTATION_VERSION_NAME)),
                ("Proved by", "`pacsnode selftest`, over real associations"),
                ("Written by", "`pacsnode conformance`, from the configuration and the tables the program works with"),
            ),
        ),
        "## 1 Conformance statement overview",
        "",
        "pacsnode keeps the SOP instances that peers send, bit for bit as they were received; answers queries about",
        "them; sends them back; and vouches for them by Storage Commitment. It creates no instances and changes none.",
        "",
        "Network services:",
        "",
        *table(("service", "SOP classes", "as SCU", "as SCP", "what pacsnode does"), rows),
        "All SOP classes and transfer syntaxes are in sections 4.1 and 4.2.",
        "",
    ]


def _introduction(claims: Claims) -> list[str]:
    return [
        "## 2 Introduction",
        "",
        "For those who connect a device to this node. It follows PS3.2 of DICOM; numbers such as PS3.4 C.4.1 are",
        "sections of the standard. Conformance alone does not make two devices work together: try them out.",
        "",
        *items(
            (
                "AE: application entity. SCU: user of a service. SCP: provider of it.",
                "Peer: a remote AE that the configuration knows; others are unknown peers.",
                "Statuses are hexadecimal, tags are (group,element).",
            )
        ),
    ]


def _model(claims: Claims) -> list[str]:
    title = code(claims.config.node.ae_title)
    return [
        "## 3 Networking: implementation model",
        "",
        "### 3.1 Application data flow",
        "",
        f"One application entity, {title}, does everything:",
        "",
        *table(
            ("real-world activity, at the peer", "association opened by", "services", "what happens here"),
            (
                ("test of the connection", "the peer", "C-ECHO", "an answer"),
                ("images are sent", "the peer", "C-STORE", "each is made durable, then Success is answered"),
                ("studies are looked for", "the peer", "C-FIND", "the index answers"),
                ("studies are retrieved", "the peer", "C-GET", "instances go back on the same association"),
                ("studies are sent on", "the peer", "C-MOVE", "instances go to a configured peer, by C-STORE"),
                ("images are to be deleted", "the peer", "N-ACTION", "every object is read again"),
                ("", "the peer or pacsnode", "N-EVENT-REPORT", "the report of what is safe here"),
            ),
        ),
        "### 3.2 Functional definition of the AE",
        "",
        "The AE listens all the time the node runs, and serves associations side by side, each in a thread of its own.",
        "It opens associations only for C-MOVE sub-operations and for reports of storage commitments, and to",
        "configured peers only. An operator may test a peer (C-ECHO), and ask one for storage commitment (N-ACTION).",
        "",
        "### 3.3 Sequencing of real-world activities",
        "",
        "None is required. An instance can be found and retrieved as soon as its C-STORE was answered with Success. No",
        "meaning is read from the end of an association or from the order of instances.",
        "",
    ]
