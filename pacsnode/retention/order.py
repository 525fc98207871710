"""The order to delete a study or to bring it back, given to the running node through its control socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from pacsnode.errors import PacsNodeError, StudyHeld, StudyNotKept
from pacsnode.model import Uid
from pacsnode.retention.deletions import Deletions
from pacsnode.retention.records import Deletion

NAME = "study"
"""How the order is called."""


class DeletionOrder:
    """Does what is ordered under ``do``: ``delete`` or ``undelete``; tells what was done, or an error."""

    def __init__(self, deletions: Deletions) -> None:
        self._deletions = deletions

    def __call__(self, order: Mapping[str, object], tell: Callable[[dict[str, object]], None]) -> None:
        """What was ordered is done, whether or not anybody still listens."""
        uid = Uid(str(order.get("study")))
        try:
            if order.get("do") == "delete":
                who, reason = str(order.get("who")), str(order.get("reason"))
                done = told(self._deletions.delete(uid, reason, who))
            elif order.get("do") == "undelete":
                done = {"study_uid": uid, **asdict(self._deletions.undelete(uid))}
            else:
                raise PacsNodeError("the running node does not know this order; restart it")
        except (StudyHeld, StudyNotKept) as error:
            tell({"error": str(error)})
        except PacsNodeError as error:
            tell({"error": f"{error}; what was begun is completed when the node starts, or by the same command"})
        else:
            tell({"done": done})


def told(deletion: Deletion) -> dict[str, object]:
    """A deletion as JSON has it."""
    return {
        "study_uid": deletion.study_uid,
        "state": deletion.state.value,
        "reason": deletion.reason,
        "who": deletion.who,
        "deleted_at": deletion.at.isoformat(timespec="seconds"),
        "due": deletion.due.isoformat(timespec="seconds"),
        "instances": deletion.versions,
        "bytes": deletion.size,
        "sha256": deletion.digest,
        "ended_at": deletion.ended_at and deletion.ended_at.isoformat(timespec="seconds"),
    }
