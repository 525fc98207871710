"""The configuration. Door: ``load`` gives a frozen ``Config``; a mistake is a ConfigError that explains itself."""

from pacsnode.config.changes import changed_keys
from pacsnode.config.jobs import Jobs, JobTable
from pacsnode.config.loader import ENVIRONMENT_VARIABLE, SYSTEM_FILE, load, locate, new_node
from pacsnode.config.notes import notes
from pacsnode.config.schedule import Cron, Every, Schedule
from pacsnode.config.table import Table
from pacsnode.config.tables import (
    Access,
    Audit,
    Commitment,
    Config,
    Find,
    Limits,
    Log,
    Metrics,
    Node,
    PeerEntry,
    Storage,
    Tls,
    UnknownPeers,
    UserIdentity,
)
from pacsnode.config.values import Address, Collector, Network, Right, duration_text, size_text
from pacsnode.config.writer import beginning, peer_table, reference, sample, schema, toml

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "SYSTEM_FILE",
    "Access",
    "Address",
    "Audit",
    "Collector",
    "Commitment",
    "Config",
    "Cron",
    "Every",
    "Find",
    "JobTable",
    "Jobs",
    "Limits",
    "Log",
    "Metrics",
    "Network",
    "Node",
    "PeerEntry",
    "Right",
    "Schedule",
    "Storage",
    "Table",
    "Tls",
    "UnknownPeers",
    "UserIdentity",
    "beginning",
    "changed_keys",
    "duration_text",
    "load",
    "locate",
    "new_node",
    "notes",
    "peer_table",
    "reference",
    "sample",
    "schema",
    "size_text",
    "toml",
]
