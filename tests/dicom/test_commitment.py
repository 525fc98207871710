"""Data sets of Storage Commitment: whatever a peer sends, and each instance in one sequence of the report."""

import io
import warnings
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from pacsnode.dicom.coding import coding_of
from pacsnode.dicom.commitment import encode_report, encode_request, parse_report, parse_request
from pacsnode.errors import BadDataset
from pacsnode.model import Commitment, CommitmentReport, FailureReason, Reference, Transaction, Uid
from tests.dicom.dataset_bytes import NATIVE, Branch, Leaf, Node, encode

UIDS = st.from_regex(r"[0-9][0-9.]{0,63}", fullmatch=True)
SYNTAXES = st.sampled_from(NATIVE)
REFERENCES = st.builds(lambda a, b: Reference(Uid(a), Uid(b)), UIDS, UIDS)
DISTINCT = st.lists(REFERENCES, min_size=1, max_size=5, unique_by=lambda one: one.sop_instance_uid)
TAGS = st.sampled_from((0x00080005, 0x00081150, 0x00081155, 0x00081195, 0x00081197, 0x00081199, 0x00091001))
LEAVES = st.builds(Leaf, TAGS, st.sampled_from(["UI", "CS", "US", "OB", "UN", "SQ", "PN"]), st.binary(max_size=12))
ITEMS = st.lists(st.lists(LEAVES, max_size=3).map(tuple), max_size=3).map(tuple)
SEQUENCES = st.builds(
    Branch, st.sampled_from((0x00081199, 0x00081195, 0x00081150)), ITEMS, st.booleans(), st.booleans()
)
NODES: st.SearchStrategy[list[Node]] = st.lists(LEAVES | SEQUENCES, max_size=4)


def padded(uid: str) -> bytes:
    """A UI value."""
    return uid.encode() + b"\0" * (len(uid) % 2)


def request(uid: str, references: list[Reference], syntax: Uid) -> bytes:
    """The action information that names these."""
    items = tuple(
        (Leaf(0x00081150, "UI", padded(one.sop_class_uid)), Leaf(0x00081155, "UI", padded(one.sop_instance_uid)))
        for one in references
    )
    whole = Branch(0x00081199, items, has_length=False, items_have_length=True)
    return encode([Leaf(0x00081195, "UI", padded(uid)), whole], syntax)


@given(UIDS, DISTINCT, SYNTAXES)
def test_what_was_asked(uid: str, references: list[Reference], syntax: Uid) -> None:
    """A request is read as it was meant, whatever the transfer syntax; what is named twice counts once."""
    assert (uid, tuple(references)) == parse_request(request(uid, [*references, references[0]], syntax), syntax)


@given(UIDS, DISTINCT, SYNTAXES, st.data())
def test_cut_off(uid: str, references: list[Reference], syntax: Uid, data: st.DataObject) -> None:
    """A request that ends too early is never taken for a smaller one."""
    whole = request(uid, references, syntax)
    with pytest.raises(BadDataset):
        parse_request(whole[: data.draw(st.integers(0, len(whole) - 1))], syntax)


@given(NODES, st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255))), SYNTAXES)
def test_anything_at_all(nodes: list[Node], noise: bytes, changes: list[tuple[int, int]], syntax: Uid) -> None:
    """Bytes of any kind are read, or refused in at most 64 ASCII characters; nothing else is raised, nor warned of."""
    seed = request("2.25.1", [Reference(Uid("1.2"), Uid("1.3"))], syntax)
    changed = bytearray(seed)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (encode(nodes, syntax), noise, bytes(changed)):
            uid, references, complaint = read(data, syntax)
            assert complaint.isascii()
            assert len(complaint) <= 64
            assert bool(complaint) != bool(uid)
            assert len({one.sop_instance_uid for one in references}) == len(references)


def read(data: bytes, syntax: Uid) -> tuple[str, tuple[Reference, ...], str]:
    """What is in it, or what is wrong with it."""
    try:
        return *parse_request(data, syntax), ""
    except BadDataset as error:
        return "", (), str(error)


def test_one_instance_under_two_classes() -> None:
    """An instance that is named under two SOP classes would be committed and failed at once: refused."""
    twice = [Reference(Uid("1.2"), Uid("1.3")), Reference(Uid("1.4"), Uid("1.3"))]
    with pytest.raises(BadDataset):
        parse_request(request("2.25.1", twice, NATIVE[0]), NATIVE[0])


@given(UIDS, DISTINCT, SYNTAXES, st.data())
def test_each_reference_in_one_sequence(
    uid: str, references: list[Reference], syntax: Uid, data: st.DataObject
) -> None:
    """The report names every reference once, in the sequence that its verdict says, with the reason of a failure."""
    verdict = tuple(data.draw(st.sampled_from([None, *FailureReason])) for _ in references)
    transaction = Transaction(1, Uid(uid), "MODALITY", "PACSNODE", datetime(2026, 1, 1, tzinfo=UTC))
    report = encode_report(Commitment(transaction, tuple(references), verdict), syntax, retrieve_ae_title="PACSNODE")
    coding = coding_of(syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom has an opinion on UIDs with leading zeros
        found = read_dataset(io.BytesIO(report), coding.is_implicit, coding.is_little_endian)
        told = {_named(one): None for one in found.get("ReferencedSOPSequence", [])}
        failed = {_named(one): one.FailureReason for one in found.get("FailedSOPSequence", [])}

        assert (uid, "PACSNODE") == (found.TransactionUID, found.RetrieveAETitle)
        assert dict(zip(references, verdict, strict=True)) == {**told, **failed}
        assert len(references) == len(told) + len(failed)
        assert ("FailedSOPSequence" in found) == bool(failed)


@given(UIDS, DISTINCT, SYNTAXES)
def test_our_request_is_read_as_it_was_meant(uid: str, references: list[Reference], syntax: Uid) -> None:
    """What we ask is what we would understand, whatever the transfer syntax."""
    assert (uid, tuple(references)) == parse_request(encode_request(Uid(uid), references, syntax), syntax)


@given(UIDS, DISTINCT, SYNTAXES, st.data())
def test_our_report_is_read_as_it_was_meant(
    uid: str, references: list[Reference], syntax: Uid, data: st.DataObject
) -> None:
    """What we would report is what we understand: committed or the reason, and nothing else of one that is cut."""
    verdict = tuple(data.draw(st.sampled_from([None, *FailureReason])) for _ in references)
    transaction = Transaction(1, Uid(uid), "MODALITY", "PACSNODE", datetime(2026, 1, 1, tzinfo=UTC))
    report = encode_report(Commitment(transaction, tuple(references), verdict), syntax, retrieve_ae_title="PACSNODE")
    told = dict(zip(references, verdict, strict=True))
    failed = {one.sop_instance_uid: int(reason) for one, reason in told.items() if reason is not None}
    committed = frozenset(one for one, reason in told.items() if reason is None)

    assert CommitmentReport(Uid(uid), committed, failed) == parse_report(report, syntax)
    # Cut between two elements less is told, never anything else.
    less, _ = told_by(report[: data.draw(st.integers(0, len(report) - 1))], syntax)
    assert less is None or (less.committed <= committed and less.failed.items() <= failed.items())


def told_by(data: bytes, syntax: Uid) -> tuple[CommitmentReport | None, str]:
    """What is reported, or what is wrong with it."""
    try:
        return parse_report(data, syntax), ""
    except BadDataset as error:
        return None, str(error)


def test_a_failure_goes_before_all() -> None:
    """What is committed and failed at once has failed, and a failure without a reason, or with 0, is a failure."""
    named = (Leaf(0x00081150, "UI", padded("1.2")), Leaf(0x00081155, "UI", padded("1.3")))
    reasons = [(), (Leaf(0x00081197, "US", b"\0\0"),), (Leaf(0x00081197, "US", b""),)]
    for reason in reasons:
        failed = Branch(0x00081198, ((*named, *reason),), has_length=True, items_have_length=True)
        committed = Branch(0x00081199, (named,), has_length=True, items_have_length=True)
        report = encode([Leaf(0x00081195, "UI", padded("2.25.1")), failed, committed], NATIVE[0])

        assert CommitmentReport(Uid("2.25.1"), frozenset(), {Uid("1.3"): 0x0110}) == parse_report(report, NATIVE[0])


@given(NODES, st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255))), SYNTAXES)
def test_any_report_at_all(nodes: list[Node], noise: bytes, changes: list[tuple[int, int]], syntax: Uid) -> None:
    """Bytes of any kind are read, or refused by BadDataset in at most 64 ASCII characters; nothing else is raised."""
    changed = bytearray(request("2.25.1", [Reference(Uid("1.2"), Uid("1.3"))], syntax).replace(b"\x99", b"\x98"))
    for place, byte in changes:
        changed[place % len(changed)] = byte
    for data in (encode(nodes, syntax), noise, bytes(changed)):
        report, complaint = told_by(data, syntax)
        assert complaint.isascii()
        assert len(complaint) <= 64
        assert bool(complaint) != bool(report)
        assert report is None or (all(report.failed.values()) and (report.committed or report.failed))


def _named(item: Dataset) -> Reference:
    return Reference(Uid(item.ReferencedSOPClassUID), Uid(item.ReferencedSOPInstanceUID))
