"""The demo's steps of integrity: a byte is flipped, the scrub finds it, and it is healed from a copy."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.system.live import LiveNode

Add = Callable[[str, str, bool], None]


def tables(copy: LiveNode) -> str:
    """What a node's configuration needs so that it repairs from the other one."""
    peer = f'[peers.COPY]\nae_title = "PACSNODE"\nhost = "127.0.0.1"\nport = {copy.port}\n'
    return f'{peer}[jobs.integrity]\nrepair_from = ["COPY"]\n'


def heal(node: LiveNode, place: str, add: Add) -> None:
    """Damage an object under the running node, let it scrub, and look where the copy came from."""
    damaged = min(path for path in (node.folder / "data" / "objects").rglob("*") if path.is_file())
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    found = json.loads(node.run("verify", "--json", expect=3))["findings"]
    report = json.loads(node.run("job", "run", "integrity", "--json"))
    (record,) = json.loads(node.run("quarantine", "show", damaged.name, "--json"))["findings"]
    sound = json.loads(node.run("verify", "--json"))

    healed = (len(found), record["outcome"], record["note"], sound["findings"]) == (1, "repaired", place, [])
    add("flip a byte, scrub", f"{report['done']} objects read, {record['outcome']} from {record['note']}", healed)
