"""The configuration. Door: ``load`` gives a frozen ``Config``; a mistake is a ConfigError that explains itself."""

from pacsnode.config.loader import ENVIRONMENT_VARIABLE, SYSTEM_FILE, load, locate, new_node
from pacsnode.config.tables import (
    Access,
    Audit,
    Commitment,
    Config,
    Find,
    Limits,
    Log,
    Node,
    PeerEntry,
    Storage,
    Table,
    Tls,
    UnknownPeers,
)
from pacsnode.config.values import Address, Collector, duration_text, size_text
from pacsnode.config.writer import beginning, reference, sample, schema, toml

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "SYSTEM_FILE",
    "Access",
    "Address",
    "Audit",
    "Collector",
    "Commitment",
    "Config",
    "Find",
    "Limits",
    "Log",
    "Node",
    "PeerEntry",
    "Storage",
    "Table",
    "Tls",
    "UnknownPeers",
    "beginning",
    "duration_text",
    "load",
    "locate",
    "new_node",
    "reference",
    "sample",
    "schema",
    "size_text",
    "toml",
]
