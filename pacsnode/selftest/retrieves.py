"""Retrieves give exactly what was stored, byte for byte: all three models, every level, by C-GET and by C-MOVE."""

from __future__ import annotations

from collections.abc import Iterator

from pacsnode.conformance.claims import GET, MOVE, Claims
from pacsnode.dicom.attributes import BY_NAME, UNIQUE_KEYS
from pacsnode.dicom.dictionary import attribute_keyword
from pacsnode.dimse import contexts
from pacsnode.model import Level
from pacsnode.selftest import requests
from pacsnode.selftest.proof import Proof, proof
from pacsnode.selftest.samples import SOP_CLASSES, SYNTAXES, expected, samples
from pacsnode.selftest.scene import Scene
from pacsnode.selftest.scu import CALLING, Context, Instance, associated, encoded


def prove_retrieves(scene: Scene, claims: Claims) -> Iterator[Proof]:
    """One entity of each level of each model; what comes has to be all of its instances, each once."""
    storage = [(uid, syntax) for uid in SOP_CLASSES for syntax in SYNTAXES]
    for one in (*claims.of_service(GET), *claims.of_service(MOVE)):
        context = (one.uid, one.transfer_syntaxes[0])
        for level in contexts.QUERY_RETRIEVE[one.uid][1].levels:
            key, wanted = _entity(level)
            identifier = requests.identifier(context[1], level.value, **key)
            if one.service == GET:
                came, code = _got(scene, context, storage, requests.get(context[0], identifier))
            else:
                came, code = _moved(scene, context, requests.move(context[0], identifier, CALLING))
            trouble = (
                ""
                if (sorted(came), code) == (wanted, 0)
                else f"{len(set(came) & set(wanted))} of {len(wanted)} come, {code:04X}"
            )
            yield proof(one.service, f"{one.name}, level {level.value}", trouble)


def _entity(level: Level) -> tuple[dict[str, str], list[Instance]]:
    """The unique key of an entity of the level, by keyword, and what was stored below it."""
    attribute = BY_NAME[UNIQUE_KEYS[level]]
    key = max(expected(attribute, level))
    below = [one for one in samples() if one.value(attribute) == key]
    instances = [(one.instance, encoded(one.data_set(), one.transfer_syntax).getvalue()) for one in below]
    return {attribute_keyword(attribute.tag): key}, sorted(instances)


def _got(scene: Scene, context: Context, storage: list[Context], request: object) -> tuple[list[Instance], int]:
    with associated(scene.main.port, scene.called, [context, *storage], scp_of=SOP_CLASSES) as scu:
        answers = scu.ask(request, context)
    return answers.received, answers.code


def _moved(scene: Scene, context: Context, request: object) -> tuple[list[Instance], int]:
    with scene.received.changed:
        scene.received.instances.clear()
    with associated(scene.main.port, scene.called, [context]) as scu:
        answers = scu.ask(request, context)
    with scene.received.changed:
        return list(scene.received.instances), answers.code
