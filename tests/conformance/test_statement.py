"""The statement says what the program does: all of it, of the configuration at hand, and in HTML too."""

from __future__ import annotations

import ast
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pacsnode.config import Config, UserIdentity
from pacsnode.conformance import page, statement
from pacsnode.conformance.claims import claims_of
from pacsnode.conformance.keys import Matching, matching
from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME
from pacsnode.dicom.coding import tag_name
from pacsnode.dicom.dictionary import attribute_name
from pacsnode.dimse import contexts, negotiation, status
from pacsnode.dimse.negotiation import Rejection

ROOT = Path(__file__).parents[2]
PRIVATE = "1.2.826.0.1.3680043.9.9999.1"
# Which module answers for which service; retrieve.py for both of its own.
_ANSWERED_BY = {
    "echo.py": ["C-ECHO"],
    "store.py": ["C-STORE"],
    "find.py": ["C-FIND"],
    "retrieve.py": ["C-MOVE", "C-GET"],
    "commitment.py": ["N-ACTION"],
    "inquiry.py": ["N-EVENT-REPORT"],
}
_VOID = {"meta", "br", "hr", "link", "img"}


def written(**tables: object) -> str:
    """The statement of a configuration that has these tables."""
    return statement.markdown(claims_of(Config.model_validate(tables)))


class Page(HTMLParser):
    """Checks that all elements are closed in order, and collects the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        self.outside += [given["src"] or ""] if "src" in given else []
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """See HTMLParser."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        self.texts.append(data)


def test_every_accepted_sop_class_and_transfer_syntax() -> None:
    """Whatever a listener accepts is in the statement, a private SOP class of the configuration too."""
    text = written(storage={"private_sop_classes": (PRIVATE,)})
    supported = contexts.supported(contexts.storage_classes([PRIVATE]))
    uids = {str(one.abstract_syntax) for one in supported} | {str(s) for one in supported for s in one.transfer_syntax}

    assert set() == {uid for uid in uids if f"`{uid}`" not in text}
    assert PRIVATE in uids


def test_every_key() -> None:
    """Each attribute of the index is there, with its tag."""
    text = written()

    assert [] == [a.name for a in ATTRIBUTES if f"| {attribute_name(a.tag)} | {tag_name(a.tag)} | {a.vr} |" not in text]


def test_matching_is_what_the_parser_takes() -> None:
    """Of a date a range, of a name a pattern, of a UID neither but a list."""
    text = {Matching.SINGLE, Matching.UNIVERSAL, Matching.ANY_OF}

    assert text | {Matching.RANGE} == matching(BY_NAME["study_date"])
    assert text | {Matching.WILDCARD} == matching(BY_NAME["patient_name"])
    assert text == matching(BY_NAME["series_number"])
    assert {Matching.SINGLE, Matching.UNIVERSAL, Matching.UIDS} == matching(BY_NAME["study_instance_uid"])


def test_every_rejection_is_listed() -> None:
    """No association is rejected in a way of which the statement is silent."""
    known = {value for value in vars(negotiation).values() if isinstance(value, Rejection)}

    assert known == set(negotiation.REJECTIONS)
    text = written(access={"user_identity": UserIdentity.ACCEPT})
    assert all(f"| {one.result},{one.source},{one.reason} |" in text for one in known)


def test_users_are_claimed_where_they_are_looked_at() -> None:
    """The types of user identity are those that this configuration takes, and 1,2,1 occurs only with them."""
    default = written()
    tokens = written(
        access={"user_identity": UserIdentity.REQUIRE, "token_key": "key.pem", "token_audience": "archive"}
    )

    assert ("| 1,2,1 |" in default, "| 1,2,1 |" in tokens) == (False, True)
    assert "(PS3.7 D.3.3.7): ignored as configured" in default
    assert "(PS3.7 D.3.3.7): types 5 (JSON Web Token); required" in tokens


@pytest.mark.parametrize("module", sorted(path.name for path in (ROOT / "pacsnode" / "dimse").glob("*.py")))
def test_services_answer_what_is_listed(module: str) -> None:
    """A status that the code names, SUCCESS and all others, is in the table of the service that answers with it."""
    tree = ast.parse((ROOT / "pacsnode" / "dimse" / module).read_text("utf-8"))
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "status"
    }
    codes = {getattr(status, name) for name in named if isinstance(getattr(status, name), int)}
    claimed = [
        {row.code for row in service.rows()}
        for service in status.SERVICES
        if service.name in _ANSWERED_BY.get(module, [])
    ] or [{row.code for service in status.SERVICES for row in service.rows()}]

    assert [] == [f"{code:04X}" for code in codes if not all(code in one for one in claimed)]


def test_follows_the_configuration() -> None:
    """AE title, aliases, listeners, limits, policies and the switches of peers are those of the configuration."""
    text = statement.markdown(claims_of(_CONFIG))
    plain = written()

    expected = (
        "`ARCHIVE7`, `OLDNAME`",
        "| `CT` | `CT99` | `ct.example:104` | store | 1 |",
        "that are accepted | 17 |",
        "77 s",
        "Matches of one query: 4321",
        "| C010 | Failure |",
        "0.0.0.0:104: unknown peers are rejected",
        "The called AE title may be anything",
    )
    for words in expected:
        assert words in text, words
        assert words not in plain, words


_CONFIG = Config.model_validate_json("""{
    "node": {"ae_title": "ARCHIVE7", "aliases": ["OLDNAME"], "listen": "0.0.0.0:104"},
    "access": {"unknown_peers": "auto", "match_called_ae": false},
    "peers": {"CT": {"ae_title": "CT99", "host": "ct.example", "port": 104, "allow": ["store"]}},
    "storage": {"duplicates": "reject"},
    "limits": {"associations": 17, "results": 4321, "idle": "77 s"}
}""")


def test_html_is_whole() -> None:
    """The page is well-formed, needs nothing from elsewhere, and its contents lead to its headings."""
    text = page.html(written())
    found = Page(text)

    assert text.startswith("<!DOCTYPE html>\n")
    assert [] == found.open
    assert [] == found.outside
    assert len(found.ids) == len(set(found.ids)) > 5
    assert [f"#{one}" for one in found.ids] == found.links
    assert contexts.VERIFICATION in found.texts


def test_html_shows_hostile_titles() -> None:
    """An AE title may have characters that mean something to Markdown or HTML: they are shown as they are."""
    title = "a|`b<i>*&"
    config = Config.model_validate_json('{"node": {"ae_title": "a|`b<i>*&"}}')
    found = Page(page.html(statement.markdown(claims_of(config))))

    assert title in found.texts
    assert "i" not in found.open


def test_docs_are_current() -> None:
    """docs/conformance.md is the statement of the defaults; `make conformance` writes it."""
    assert written() == (ROOT / "docs" / "conformance.md").read_text("utf-8")
