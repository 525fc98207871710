"""Of the conformance statement: interfaces, configuration, media, character sets, security (PS3.2 Annex A.4.3-A.8)."""

from __future__ import annotations

from pacsnode.config import Config, Table
from pacsnode.conformance.claims import Claims
from pacsnode.conformance.markdown import code, items, table
from pacsnode.dicom import charset

_TOLD_ELSEWHERE = {"node", "peer_entries", "jobs", "log"}  # jobs are nothing to who connects


def lines(claims: Claims) -> list[str]:
    """Sections 5 to 9."""
    parts = (_interfaces, _configuration, _media, _character_sets, _security, _annexes)
    return [line for part in parts for line in part(claims.config)]


def _interfaces(config: Config) -> list[str]:
    return [
        "## 5 Network interfaces",
        "",
        *items(
            (
                f"Listens on {', '.join(code(str(address)) for address in config.node.listen)}.",
                f"Listens for TLS on {', '.join(code(str(one)) for one in config.node.tls_listen) or 'no port'}.",
                "TCP/IP over whatever the operating system has, IPv4 and IPv6. Names of peers are resolved by it.",
            )
        ),
    ]


def _configuration(config: Config) -> list[str]:
    peers = [
        (
            code(peer.name),
            code(peer.ae_title),
            code(f"{peer.host}:{peer.port}"),
            " ".join(right for right in _RIGHTS if right in peer.allow),
            str(peer.associations),
        )
        for peer in config.peers.values()
    ]
    headings = ("peer", "AE title", "address", "may", "associations of a C-MOVE to it")
    nobody = ["No peers are configured: nothing can be moved, or reported by a call.", ""]
    aliases = ", ".join(map(code, config.node.aliases)) or "none"
    return [
        "## 6 Configuration",
        "",
        "### 6.1 AE titles and peers",
        "",
        f"Our AE title: {code(config.node.ae_title)}. Aliases: {aliases}.",
        "",
        *(table(headings, peers) if peers else nobody),
        "### 6.2 Parameters",
        "",
        "All of them are configurable; these are the values in effect.",
        "",
        *(line for name in Config.model_fields if name not in _TOLD_ELSEWHERE for line in _parameters(config, name)),
    ]  # fmt: skip


_RIGHTS = ("echo", "store", "find", "get", "move", "commit")


def _parameters(config: Config, name: str) -> list[str]:
    values = getattr(config, name)
    if not isinstance(values, Table):
        return []
    rows = [
        (code(key), _shown(value), type(values).model_fields[key].description or "")
        for key, value in values.model_dump(mode="json").items()
    ]
    return [f"Table {code(f'[{name}]')}:", "", *table(("parameter", "value", "meaning"), rows)]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(code(str(one)) for one in value) or "none"
    return code(str(value).lower() if isinstance(value, bool) else str(value)) if value != "" else "none"


def _media(config: Config) -> list[str]:
    return [
        "## 7 Media interchange",
        "",
        "No application profile is claimed. `pacsnode import` reads Part 10 files (PS3.10) from folders and zips,",
        "whatever a DICOMDIR says of them, under the same checks as a C-STORE; `pacsnode study export` writes Part 10",
        "files without a DICOMDIR.",
        "",
    ]


def _character_sets(config: Config) -> list[str]:
    return [
        "## 8 Support of character sets",
        "",
        "Read and written, with code extensions, in stored instances and identifiers:",
        "",
        ", ".join(map(code, charset.defined_terms())) + ".",
        "",
        *items(
            (
                "Misspelt terms are understood where there is no doubt. Where none is given, what is not ASCII is read "
                "as UTF-8 if it is valid, else as Latin-1. No C-STORE fails for a character set.",
                "C-FIND responses are in the character set of the request where that can say all of a match, else in "
                f"{code(charset.UTF_8)}; without Specific Character Set where all is ASCII.",
                "Stored data sets keep their own character set, byte for byte.",
            )
        ),
    ]


def _security(config: Config) -> list[str]:
    return [
        "## 9 Security",
        "",
        *items(
            (
                _security_profile(config),
                "Association level: AE titles are checked as in 4.5, and what a peer may do as in 6.1.",
                "Names, IDs and dates of patients are neither logged nor told in error comments.",
            )
        ),
    ]


def _security_profile(config: Config) -> str:
    if not config.node.tls_listen and not any(peer.tls for peer in config.peers.values()):
        return "Security profiles of PS3.15: none as configured; BCP 195 RFC 8996, 9325 TLS (B.12) with table [tls]."
    asked = "is demanded" if config.tls.require_client_certificate else "is not asked for"
    return (
        "Secure transport connections: BCP 195 RFC 8996, 9325 TLS profile (PS3.15 B.12), TLS 1.2 and 1.3. "
        f"A certificate of who connects {asked}; it is not bound to an AE title."
    )


def _annexes(config: Config) -> list[str]:
    return [
        "## 10 Annexes",
        "",
        *items(
            (
                "IOD contents: pacsnode creates no instances.",
                "Coercion and use of attributes: nothing is coerced; the index reads the keys of 4.7.",
                "Coded terminology and templates: none.",
                "Greyscale image consistency: not applicable.",
                "Standard Extended, Specialized and Private SOP classes: configured in `private_sop_classes`, kept as "
                "they are.",
                "Private transfer syntaxes: those that 4.2 calls Private.",
            )
        ),
        "Privatizations: none.",
        "",
    ]
