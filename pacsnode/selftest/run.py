"""The whole test, from start to finish."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import config as pydicom_config

from pacsnode.conformance.claims import STORAGE, Claims
from pacsnode.errors import PeerFailure
from pacsnode.selftest import commitments, negotiations, queries, retrieves, services
from pacsnode.selftest.proof import Proof, Report, Verdict, proof
from pacsnode.selftest.samples import samples
from pacsnode.selftest.scene import Scene, scene
from pacsnode.selftest.scu import associated

_Test = Callable[[Scene, Claims], Iterator[Proof]]


def prove(claims: Claims) -> Report:
    """Put every claim to the test, on nodes of their own in a temporary folder. Raises PeerFailure where they do not
    start, OSError."""
    began = time.monotonic()
    proofs: list[Proof] = []
    with (
        tempfile.TemporaryDirectory(prefix="pacsnode-selftest-") as folder,
        warnings.catch_warnings(),
        _quiet("pynetdicom"),  # what goes wrong on purpose is of no interest
        pydicom_config.disable_value_validation(),  # so that a request can be wrong
        scene(claims.config, Path(folder)) as running,
    ):
        warnings.simplefilter("ignore")
        for test in _TESTS:
            proofs += _tried(test, running, claims)
    return Report(tuple(proofs), time.monotonic() - began)


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _tried(test: _Test, running: Scene, claims: Claims) -> list[Proof]:
    """A test that cannot go on is a claim that failed, and no reason to leave out the others."""
    found: list[Proof] = []
    try:
        found.extend(test(running, claims))
    except (PeerFailure, OSError, LookupError, ValueError, AttributeError) as error:
        name = test.__name__.strip("_").replace("_", " ")
        found.append(Proof("Tests", f"{name} comes to its end", Verdict.FAILED, f"{type(error).__name__}: {error}"))
    return found


def _samples(running: Scene, claims: Claims) -> Iterator[Proof]:
    services.fill(running.main, running.called)
    with associated(running.main.port, running.called, [queries.any_context(claims)]) as scu:
        missing = len(list(samples())) - queries.count_images(scu, claims)
    yield proof(STORAGE, "what is stored can be found", f"{missing} instances cannot" if missing else "")


def _keys(running: Scene, claims: Claims) -> Iterator[Proof]:
    with associated(running.main.port, running.called, list(queries.find_contexts(claims).values())) as scu:
        yield from queries.prove_keys(scu, claims)


# In this order: keys want nothing but the samples to be there, and the last ones break something.
_TESTS: tuple[_Test, ...] = (
    _samples,
    _keys,
    retrieves.prove_retrieves,
    negotiations.prove_extended,
    negotiations.prove_contexts,
    services.prove_statuses,
    commitments.prove_reports,
    negotiations.prove_rejections,
)
