"""The demo's steps of integrity: a byte is flipped, the scrub finds it, and a peer with the instance heals it."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.system import dcmtk
from tests.system.live import LiveNode

Add = Callable[[str, str, bool], None]


def tables(copy: LiveNode) -> str:
    """What a node's configuration needs so that it repairs from the other one."""
    peer = f'[peers.COPY]\nae_title = "PACSNODE"\nhost = "127.0.0.1"\nport = {copy.port}\n'
    return f'{peer}[jobs.integrity]\nrepair_from = ["COPY"]\n'


def heal(node: LiveNode, copy: LiveNode, files: list[str], add: Add) -> None:
    """Damage an object under the running node, let it scrub, and look: ``copy`` has got the same files."""
    dcmtk.run("storescu", *dcmtk.address(copy.port), *files)
    objects = sorted(path for path in (node.folder / "data" / "objects").rglob("*") if path.is_file())
    content = bytearray(objects[0].read_bytes())
    content[-1] ^= 1
    objects[0].write_bytes(content)
    found = json.loads(node.run("verify", "--json", expect=3))["findings"]
    add("flip a byte", "; ".join(finding["problem"] for finding in found), len(found) == 1)

    report = json.loads(node.run("job", "run", "integrity", "--json"))
    aside = json.loads(node.run("quarantine", "list", "--json"))
    sound = json.loads(node.run("verify", "--json"))
    healed = (report["details"]["repaired"], report["failed"], len(aside), sound["findings"]) == (1, 0, 1, [])
    add("scrub", f"{report['done']} objects read, {report['details']['repaired']} repaired by C-GET", healed)
