"""``selftest`` believes nothing: what is true is proved, and each kind of lie is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pacsnode.cli import main
from pacsnode.config import Config
from pacsnode.conformance.claims import STORAGE, Claims, SopClass, StatusClaim, claims_of
from pacsnode.conformance.keys import Matching
from pacsnode.dicom.attributes import BY_NAME, Attribute, Requirement
from pacsnode.dicom.identifier import Root
from pacsnode.dimse.negotiation import Rejection
from pacsnode.model import FailureReason, Level
from pacsnode.selftest import run
from pacsnode.selftest.proof import Proof, Report, Verdict
from pacsnode.selftest.samples import SOP_CLASSES

_UNKNOWN_CLASS = SopClass("1.2.3.4.5", "Imaginary Storage", STORAGE, ("1.2.840.10008.1.2",), is_scu=True)
_UNKNOWN_SYNTAX = "1.2.3.4.6"
_UNKNOWN_KEY = Attribute("patient_comments", 0x00104000, "LT", Level.PATIENT, Requirement.OPTIONAL)


def few() -> Claims:
    """What is claimed of the default configuration, but of fewer SOP classes and one information model."""
    claims = claims_of(Config())
    classes = tuple(one for one in claims.sop_classes if one.service != STORAGE or one.uid in SOP_CLASSES)
    keys = tuple(key for key in claims.keys if key.root is Root.PATIENT_STUDY_ONLY)
    return replace(claims, sop_classes=classes, keys=keys)


def failed(report: Report) -> list[str]:
    """What was found not to be so."""
    return [f"{one.subject}: {one.claim}" for one in report.of(Verdict.FAILED)]


def test_lies_are_seen() -> None:
    """A context, a syntax, a role, a key, a kind of matching, a status, a reason and a rejection that are not so, and a
    status that is left out: each fails, and nothing else does."""
    claims = few()
    date = next(key for key in claims.keys if key.attribute is BY_NAME["study_date"])
    *others, ultrasound = claims.sop_classes
    echo, *classes = others
    lying = replace(
        claims,
        sop_classes=(
            replace(echo, is_scu=True),
            *classes,
            replace(ultrasound, transfer_syntaxes=(*ultrasound.transfer_syntaxes, _UNKNOWN_SYNTAX)),
            _UNKNOWN_CLASS,
        ),
        keys=(
            *(key for key in claims.keys if key is not date),
            replace(date, matching=date.matching | {Matching.WILDCARD}),
            replace(date, attribute=_UNKNOWN_KEY, matching=frozenset({Matching.UNIVERSAL})),
        ),
        statuses=(
            *(one for one in claims.statuses if (one.service, one.code) != ("C-FIND", 0xFF01)),
            StatusClaim("C-STORE", 0xB007, ("An imaginary warning.",), frozenset()),
        ),
        failure_reasons={**claims.failure_reasons, FailureReason.RESOURCE_LIMITATION: "Imaginary."},
        rejections={**claims.rejections, Rejection(1, 3, 1, "no reason given"): "Imaginary."},
    )

    syntaxes = len(ultrasound.transfer_syntaxes)
    expected = [
        "C-FIND Patient/Study Only STUDY: Study Date: wildcard matching",
        "C-FIND Patient/Study Only STUDY: Patient Comments: universal matching",
        f"Verification: {echo.name} in {len(echo.transfer_syntaxes)} transfer syntaxes",
        f"Storage: {ultrasound.name} in {syntaxes + 1} transfer syntaxes",
        "Storage: Imaginary Storage in 1 transfer syntaxes",
        "C-STORE: B007 An imaginary warning.",
        "C-FIND: no other status",
        "Storage Commitment: failure reason 0213: Imaginary.",
        "Rejections: 1,3,1 Imaginary.",
    ]
    assert expected == failed(run.prove(lying))


def test_policies_are_proved_too() -> None:
    """Of another configuration the other claims are proved: refused duplicates, a limit of matches, users."""
    config = Config.model_validate_json("""{
        "node": {"ae_title": "ARCHIVE 7"},
        "storage": {"duplicates": "reject", "min_free": "4 GiB"},
        "access": {"unknown_peers": "reject", "user_identity": "require", "users_file": "nowhere"},
        "peers": {"NEVER": {"host": "nobody.invalid", "port": 104}},
        "limits": {"results": 500, "associations": 1, "dataset": "1 KiB"}
    }""")
    made = claims_of(config)
    report = run.prove(replace(few(), config=config, statuses=made.statuses, rejections=made.rejections))

    assert [] == failed(report)
    assert any(one.claim.startswith("1,2,1 ") and one.verdict is Verdict.PROVED for one in report.proofs)
    assert any(one.claim.startswith("C010") and one.verdict is Verdict.PROVED for one in report.proofs)
    assert any(one.claim.startswith("A700 There are more") and one.verdict is Verdict.PROVED for one in report.proofs)


def test_nothing_proved_is_no_proof() -> None:
    """A report without a single proof does not hold, nor does one with a failure."""
    proved, wrong = Proof("a", "b", Verdict.PROVED), Proof("a", "c", Verdict.FAILED, "d")
    untried = Proof("a", "e", Verdict.NOT_PROVOKED, "f")

    assert not Report((), 0.0).holds
    assert not Report((untried,), 0.0).holds
    assert not Report((proved, wrong), 0.0).holds
    assert Report((proved, untried), 0.0).holds


@pytest.mark.slow
def test_command_proves_the_whole_statement(tmp_path: Path) -> None:
    """`pacsnode selftest` exits 0 when everything is proved, and leaves the archive of the configuration alone."""
    file = tmp_path / "pacsnode.toml"
    file.write_text('[node]\ndata = "archive"\nlisten = "127.0.0.1:1"\n', "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pacsnode", "selftest", "--json", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=110,
    )
    found = json.loads(done.stdout)

    assert [] == [one for one in found["proofs"] if one["verdict"] == "failed"]
    assert 0 == done.returncode
    assert len(claims_of(Config()).sop_classes) < len(found["proofs"])
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PROVED, 0), (Verdict.FAILED, 1)])
def test_exit_code(monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int) -> None:
    """A claim that is not so makes the command fail, and it is named."""
    report = Report((Proof("C-ECHO", "0000", Verdict.PROVED), Proof("C-ECHO", "9999", verdict, "does not occur")), 1.0)
    monkeypatch.setattr(run, "prove", lambda claims: report)
    done = CliRunner().invoke(main, ["selftest", "--config", "/dev/null"])

    assert code == done.exit_code
    assert ("failed: C-ECHO: 9999: does not occur" in done.output) == bool(code)
