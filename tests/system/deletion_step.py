"""The demo's step of deletions: a study is deleted under the running node, and comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.system.live import LiveNode

Add = Callable[[str, str, bool], None]


def delete_and_undelete(node: LiveNode, study: str, add: Add) -> None:
    """Delete a study, look that it is gone, bring it back, and read all of it."""
    done = json.loads(node.run("study", "delete", study, "--reason", "demo", "--json"))
    is_gone = study not in node.run("study", "list", "--json")
    back = json.loads(node.run("study", "undelete", study, "--json"))
    sound = json.loads(node.run("verify", "--json"))
    is_back = (done["instances"], []) == (back["versions"], sound["findings"])
    add("study delete, undelete", f"{back['versions']} instances gone and back", is_gone and is_back)
