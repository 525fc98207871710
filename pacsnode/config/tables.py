"""One frozen model per table of the TOML file.

Each attribute is the key of the same name; its docstring is what the sample file and docs/configuration.md say of it.
A key is here only when it has an effect.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pacsnode.config.jobs import Jobs
from pacsnode.config.table import Table
from pacsnode.config.values import (
    GIB,
    KIB,
    MIB,
    Address,
    AeTitle,
    AuditFile,
    Buffer,
    CertificateName,
    CharacterSet,
    CollectorOrNone,
    Count,
    DataFolder,
    Deadline,
    DurationOrNone,
    Fingerprint,
    Host,
    HostOrNone,
    IndexFolder,
    Listeners,
    MetricsListener,
    Networks,
    PemFile,
    Port,
    Rate,
    Rights,
    Size,
    SopClass,
    TlsListeners,
    ae_title,
)
from pacsnode.model import DuplicatePolicy, Peer


class UnknownPeers(Enum):
    """What to do with a calling AE title that is no configured peer's."""

    AUTO = "auto"
    REJECT = "reject"
    ACCEPT = "accept"


class Node(Table):
    """Who this node is, where it listens and where it keeps its data."""

    ae_title: AeTitle = "PACSNODE"
    """Our AE title: what peers call, and what we call ourselves towards them."""
    aliases: tuple[AeTitle, ...] = ()
    """Further AE titles under which peers may call us."""
    listen: Listeners = (Address("127.0.0.1", 11112),)
    """Where to listen: one "HOST:PORT" or a list of them; IPv6 as "[::1]:11112"; port 0 is any free one."""
    tls_listen: TlsListeners = ()
    """Where to listen for TLS, as `listen`; the port is 2762 where none is said; "" is nowhere. Needs table [tls]."""
    data: DataFolder = Path("/var/lib/pacsnode")
    """Folder of the objects and the index; a relative path starts at this file's folder. Without any file: ./var."""
    assume_charset: CharacterSet = ""
    """Character set of text that declares none: as `assume_charset` of a peer, for everybody else and for imports."""
    index: IndexFolder = Path()
    """Folder of the index, which may be on a disk of its own; a relative path starts at the folder of the data."""


class UserIdentity(Enum):
    """What to do with the users that peers name when they associate (PS3.7 D.3.3.7)."""

    OFF = "off"
    ACCEPT = "accept"
    REQUIRE = "require"


class Access(Table):
    """Who may open an association, see docs/access.md."""

    unknown_peers: UnknownPeers = UnknownPeers.AUTO
    """Calling AE titles that are no peer's: "accept" or "reject"; "auto" accepts on a loopback listener only."""
    match_called_ae: bool = True
    """true: an association has to name our AE title or an alias as the called one."""
    user_identity: UserIdentity = UserIdentity.OFF
    """Users that peers name: "off" ignores them, "accept" checks who is named, "require" rejects who proves nobody."""
    users_file: PemFile = ""
    """File of users and the hashes of their passcodes, see `pacsnode user`; it is read at each association."""
    token_key: PemFile = ""
    """Public key (PEM, JWK or JWK set) that JSON Web Tokens of users are signed with; "" takes no tokens."""
    token_audience: str = ""
    """The audience (`aud`) that a token has to name; needed with `token_key`."""
    token_issuer: str = ""
    """The issuer (`iss`) that a token has to name; "" is any."""


class PeerEntry(Table):
    """A remote application entity; the table's name is what we call it."""

    ae_title: AeTitle | None = None
    """Its AE title; by default the table's name."""
    host: Host
    """Its host name or address, to which we connect."""
    port: Port
    """Its port, 1 to 65535."""
    allow: Rights = frozenset({"echo", "store", "find", "get", "move", "commit"})
    """What it may do here: any of "echo", "store", "find", "get", "move", "commit"."""
    move_destinations: tuple[AeTitle, ...] = ("*",)
    """AE titles of the peers that it may have images sent to by C-MOVE; "*" is every peer."""
    addresses: Networks = ()
    """Addresses and networks that it connects from, such as "10.0.0.5" or "10.0.0.0/24"; by default any."""
    require_tls: bool = False
    """true: it may not connect to us without TLS."""
    certificates: tuple[Fingerprint, ...] = ()
    """SHA-256 of its certificate, or of that one's public key, one of which it has to show; by default any."""
    certificate_names: tuple[CertificateName, ...] = ()
    """Names one of which its certificate has to be made out to (alternative or common name); by default any."""
    max_associations: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Associations at a time that it may open; 0 is `associations_per_peer` in `[limits]`."""
    user_identity: Literal["", "off", "accept", "require"] = ""
    """As `user_identity` in `[access]`, for this peer; "" is what stands there."""
    expected_every: DurationOrNone = 0.0
    """Time within which an instance of it is expected: `pacsnode doctor` tells when it is silent; "0 s": never."""
    associations: Annotated[int, Field(ge=1, le=16)] = 1
    """Associations at a time over which one C-MOVE sends to it, 1 to 16; where it takes fewer, those are used."""
    assume_charset: CharacterSet = ""
    """Character set of its images and queries that declare none: "ISO_IR 100", "ISO 2022 IR 149" …; "": the node's."""

    match_unknown: bool = True
    """true: studies without a date, accession number … match its queries for any (PS3.4 C.2.2.1.2); false: none."""
    tls: bool = False
    """true: we connect to it by TLS, and its certificate has to be that of `host`. Needs table [tls]."""
    tls_name: HostOrNone = ""
    """Name or address that its certificate is made out to, where that is not `host`; "" is `host`."""

    def title_for(self, name: str) -> str:
        """The AE title of the peer with this name. Raises ValueError where it has none and the name cannot be one."""
        return self.ae_title or ae_title(name)


class Tls(Table):
    """TLS 1.2 and 1.3 (PS3.15 B.12), see docs/tls.md. Files are PEM; a relative path starts at this file's folder, and
    "credential:NAME" is what systemd hands over under that name (LoadCredential)."""

    certificate: PemFile = ""
    """This node's certificate, then those of intermediate CAs."""
    key: PemFile = ""
    """The certificate's private key, without a passphrase."""
    client_ca: PemFile = ""
    """Certificates of the CAs that sign the certificates of who connects to us."""
    require_client_certificate: bool = True
    """true: nobody connects without a certificate of `client_ca`; false: one is not asked for."""
    peer_ca: PemFile = ""
    """Certificates of the CAs that sign the certificates of peers we connect to; by default those of `client_ca`."""
    expiry_warning: Deadline = 30 * 86_400.0
    """Time before a certificate of these files expires from which on `status` and the log tell of it."""

    @property
    def files(self) -> dict[str, str]:
        """The files of certificates that are named, by their keys."""
        named = {key: getattr(self, key) for key in ("certificate", "client_ca", "peer_ca")}
        return {key: path for key, path in named.items() if path}


class Storage(Table):
    """How objects are kept."""

    min_free: Size = 4 * GIB
    """Free space below which C-STORE is answered with A700; everything else goes on."""
    index_min_free: Size = 256 * MIB
    """As `min_free`, for the file system of the index where that is another one than the objects'."""
    ballast: Size = 64 * MIB
    """Size of a file beside the index, given up when a removal or a start finds no room; "0 B" is none."""
    duplicates: DuplicatePolicy = DuplicatePolicy.VERSION
    """Other content under a known SOP Instance UID: "version" keeps both, "first" keeps the first, "reject" refuses."""
    private_sop_classes: tuple[SopClass, ...] = ()
    """UIDs of further, private Storage SOP classes to accept."""


class Limits(Table):
    """What one peer, and all of them together, may take."""

    associations: Count = 128
    """Associations at a time; further ones are rejected: local limit exceeded."""
    associations_per_peer: Count = 64
    """Associations at a time of one calling AE title."""
    associations_per_address: Annotated[int, Field(ge=0)] = 64
    """Associations at a time from one IP address, loopback too; 0 is no limit."""
    connections_before_association: Count = 64
    """Connections at a time that have not sent their whole A-ASSOCIATE-RQ; beyond, the oldest one is ended."""
    pdu: Buffer = 256 * KIB
    """Maximum Length of PDUs that we announce (PS3.8 D.1)."""
    pdu_hard_cap: Buffer = MIB
    """Length of a PDU beyond which an association is aborted; some peers exceed what was announced."""
    association_request: Buffer = MIB
    """Length of an A-ASSOCIATE-RQ."""
    command_set: Buffer = 64 * KIB
    """Length of a command set."""
    identifier: Buffer = MIB
    """Length of the identifier of a query or retrieve, and of a request for storage commitment."""
    dataset: Annotated[Size, Field(ge=1)] = 4 * GIB
    """Length of a data set to be stored."""
    results: Annotated[int, Field(ge=0)] = 0
    """Matches that one C-FIND may have; 0 is no limit. What is beyond ends it with A700, after the matches up to it."""
    query_deadline: Deadline = 2.0
    """Time for one read of the index, of which a query may need several; beyond, it is answered A700 or A701."""
    idle: Deadline = 600.0
    """Time without any message after which an association is aborted."""
    association_deadline: Deadline = 30.0
    """Time from the connection to the whole A-ASSOCIATE-RQ."""
    pdu_deadline: Deadline = 30.0
    """Time for a PDU that has begun; its length at `minimum_rate` is added."""
    minimum_rate: Rate = 10_000
    """Slowest transfer that is waited for."""
    connect: Deadline = 10.0
    """Time to connect to a peer."""
    response: Deadline = 60.0
    """Time to wait for a peer's response."""
    drain: Deadline = 30.0
    """Time that open associations have to end when the node is told to stop."""

    @model_validator(mode="after")
    def _pdu_below_hard_cap(self) -> Self:
        if self.pdu > self.pdu_hard_cap:
            raise ValueError("pdu is larger than pdu_hard_cap; a pdu up to pdu_hard_cap")
        return self


class Find(Table):
    """How queries are answered."""

    read_headers: bool = False
    """true: optional keys that are not in the index are told, not matched, from one object of each match; slower."""


class Commitment(Table):
    """Storage commitment: how peers are told which of their instances are safe here."""

    transactions: Count = 1000
    """Requests at a time that are not reported yet; further ones are answered 0213 (resource limitation)."""
    same_association_wait: Deadline = 10.0
    """Time for the report on the association of the request, theirs or ours; then, or when that ends, on another."""
    first_retry: Deadline = 10.0
    """Time after which a report that did not get through is tried again; doubled each time, up to an hour."""
    retry_for: Deadline = 259_200.0
    """Time from the request after which a report that never got through is given up."""


class Audit(Table):
    """The audit trail: who did what with whose data (PS3.15 A.5), see docs/operations.md."""

    file: AuditFile = Path("audit/audit.log")
    """The file that grows; a relative path starts at the folder of the data. Its signing key lies beside it."""
    rotate: Annotated[Size, Field(ge=4 * KIB)] = 64 * MIB
    """Size from which the file is put away, named by its last record, and a new one is begun; nothing is deleted."""
    syslog: CollectorOrNone = None
    """A collector, too: "tls://HOST:PORT" (RFC 5425; port 6514) or "udp://HOST:PORT" (RFC 5426; port 514)."""
    syslog_ca: PemFile = ""
    """Certificates of the CAs that sign the collector's; a relative path starts at this file's folder."""
    syslog_certificate: PemFile = ""
    """Our certificate for the collector; "" is the one of table [tls], where there is one."""
    syslog_key: PemFile = ""
    """The private key of `syslog_certificate`."""

    @model_validator(mode="after")
    def _collector_has_its_files(self) -> Self:
        if self.syslog is not None and self.syslog.protocol == "tls" and not self.syslog_ca:
            raise ValueError("syslog_ca: missing; syslog by TLS needs the path of a PEM file there")
        if bool(self.syslog_certificate) != bool(self.syslog_key):
            raise ValueError("syslog_certificate and syslog_key go together; both, or none")
        return self


class Log(Table):
    """What is written to stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is written: "DEBUG", "INFO", "WARNING" or "ERROR"."""
    slow_store: DurationOrNone = 5.0
    """Time from a C-STORE's request to its answer from which on `event=slow_store` tells of it; "0 s" is never."""
    slow_query: DurationOrNone = 2.0
    """Time from a C-FIND's request to its last answer from which on `event=slow_query` tells of it; "0 s" is never."""


class Metrics(Table):
    """Where monitoring asks this node, see docs/metrics.md."""

    listen: MetricsListener = "127.0.0.1:9104"
    """Where `/metrics`, `/livez` and `/readyz` are: "HOST:PORT" of loopback, a Unix socket's path, or "" for none."""


class Config(Table):
    """The whole configuration; ``Config()`` is what an empty file means."""

    node: Node = Node()
    access: Access = Access()
    peer_entries: dict[str, PeerEntry] = Field(default={}, alias="peers")
    storage: Storage = Storage()
    tls: Tls = Tls()
    limits: Limits = Limits()
    find: Find = Find()
    commitment: Commitment = Commitment()
    jobs: Jobs = Jobs()
    audit: Audit = Audit()
    log: Log = Log()
    metrics: Metrics = Metrics()

    @property
    def peers(self) -> dict[str, Peer]:
        """The configured peers by name; their AE titles are all different."""
        return {
            name: Peer(
                name,
                entry.title_for(name),
                entry.host,
                entry.port,
                allow=entry.allow,
                tls=entry.tls,
                tls_name=entry.tls_name,
                associations=entry.associations,
                match_unknown=entry.match_unknown,
                move_destinations=None if "*" in entry.move_destinations else frozenset(entry.move_destinations),
                max_associations=entry.max_associations,
            )
            for name, entry in self.peer_entries.items()
        }

    def user_identity_for(self, entry: PeerEntry) -> UserIdentity:
        """What is to be done with the users that this peer names."""
        return UserIdentity(entry.user_identity) if entry.user_identity else self.access.user_identity

    @property
    def looks_at_users(self) -> bool:
        """Is there anybody whose users are of interest?"""
        policies = {self.access.user_identity, *map(self.user_identity_for, self.peer_entries.values())}
        return policies != {UserIdentity.OFF}

    @property
    def assumed_charsets(self) -> dict[str, str]:
        """In which character set text of a peer is read that declares none, by AE title."""
        return {
            entry.title_for(name): entry.assume_charset
            for name, entry in self.peer_entries.items()
            if entry.assume_charset
        }

    def accepts_unknown_peers(self, listener: Address) -> bool:
        """May a calling AE title that is no peer's associate through this listener?"""
        policy = self.access.unknown_peers
        return policy is UnknownPeers.ACCEPT or (policy is UnknownPeers.AUTO and listener.is_loopback)

    @model_validator(mode="after")
    def _tls_has_its_files(self) -> Self:
        if self.node.tls_listen:
            self._require("certificate", "tls_listen")
            self._require("key", "tls_listen")
            if self.tls.require_client_certificate:
                self._require("client_ca", "require_client_certificate")
        for name, entry in self.peer_entries.items():
            if entry.tls and not self.tls.client_ca:
                self._require("peer_ca", f"[peers.{name}] tls")
        if bool(self.tls.certificate) != bool(self.tls.key):
            self._require("certificate", "key")
            self._require("key", "certificate")
        return self

    @model_validator(mode="after")
    def _what_is_asked_of_peers_can_be(self) -> Self:
        titles = {entry.ae_title or name for name, entry in self.peer_entries.items()}
        for name, entry in self.peer_entries.items():
            shows = bool(entry.certificates or entry.certificate_names)
            if (shows or entry.require_tls) and not self.node.tls_listen:
                raise ValueError(f"[peers.{name}]: what is asked of its TLS cannot be; [node] tls_listen is missing")
            if shows and not self.tls.require_client_certificate:
                raise ValueError(
                    f"[peers.{name}]: its certificate is never seen; [tls] require_client_certificate = true"
                )
            if unknown := sorted(set(entry.move_destinations) - titles - {"*"}):
                raise ValueError(f"[peers.{name}] move_destinations: {unknown[0]} is no peer's AE title; one of those")
        return self

    @model_validator(mode="after")
    def _users_can_be_told(self) -> Self:
        policies = {self.access.user_identity.value, *(entry.user_identity for entry in self.peer_entries.values())}
        if UserIdentity.REQUIRE.value in policies and not (self.access.users_file or self.access.token_key):
            raise ValueError("[access] user_identity: nobody can prove anything; users_file or token_key is missing")
        if self.access.token_key and not self.access.token_audience:
            raise ValueError("[access] token_audience: missing; token_key needs the audience that tokens are made for")
        return self

    def _require(self, key: str, because_of: str) -> None:
        if not getattr(self.tls, key):
            raise ValueError(f"[tls] {key}: missing; {because_of} needs the path of a PEM file there, see docs/tls.md")

    @model_validator(mode="after")
    def _copies_come_from_peers(self) -> Self:
        for name in self.jobs.integrity.repair_from:
            if name not in self.peer_entries:
                known = ", ".join(self.peer_entries) or "none"
                raise ValueError(f"[jobs.integrity] repair_from: {name} is no peer; configured in [peers] are: {known}")
        return self

    @model_validator(mode="after")
    def _peers_have_their_own_titles(self) -> Self:
        owners: dict[str, str] = {}
        for name, entry in self.peer_entries.items():
            try:
                title = entry.title_for(name)
            except ValueError as error:
                raise ValueError(f"[peers.{name}] has no AE title for a name; give it an ae_title") from error
            if owners.setdefault(title, name) != name:
                raise ValueError(f"[peers.{name}] and [peers.{owners[title]}] share one AE title; one peer for each")
        return self
