"""``pacsnode selftest``."""

from __future__ import annotations

import click

from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config


@click.command("selftest", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """Prove the conformance statement over real associations.

    Starts nodes of the same configuration in a temporary folder, on free ports of loopback, and asks them for
    everything that the statement claims. The archive itself, and its peers, are not touched.
    """
    from pacsnode.conformance.claims import claims_of  # pynetdicom takes half a second, see conformance
    from pacsnode.selftest import run
    from pacsnode.selftest.proof import Verdict

    report = run.prove(claims_of(load_config()))
    counts = {verdict: report.count(verdict) for verdict in Verdict}
    if as_json:
        proofs = [
            {"subject": one.subject, "claim": one.claim, "verdict": one.verdict.value, "detail": one.detail}
            for one in report.proofs
        ]
        console.print_json({"holds": report.holds, "seconds": round(report.seconds, 1), "proofs": proofs})
        return console.Exit.OK if report.holds else console.Exit.FAILED
    rows = [(subject, *(found[verdict] for verdict in Verdict)) for subject, found in report.by_subject()]
    console.print_table(("SUBJECT", *(verdict.value.upper() for verdict in Verdict)), rows)
    for verdict in (Verdict.NOT_PROVOKED, Verdict.FAILED):
        for one in report.of(verdict):
            console.print_line(f"{verdict.value}: {one.subject}: {one.claim}: {one.detail}")
    summary = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items())
    console.print_line(f"{sum(counts.values())} claims in {report.seconds:.1f} s: {summary}")
    return console.Exit.OK if report.holds else console.Exit.FAILED
