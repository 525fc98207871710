"""What a scrape of a node says."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from tests.system.live import LiveNode

LISTENING = re.compile(r"event=ready .*metrics=(\S+)")
TABLE = '[metrics]\nlisten = "127.0.0.1:0"\n'
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def page(node: LiveNode, path: str) -> tuple[int, str]:
    """Status and text of a page."""
    address = node.wait_for(LISTENING)[1]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> Samples:
    """By name, then by labels."""
    found: Samples = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found
