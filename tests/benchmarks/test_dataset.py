"""The synthetic data sets: what they hold is what queries will ask for."""

from __future__ import annotations

from benchmarks.dataset import CT, EXPLICIT, MULTI_FRAME_CLASS, TINY, Image, Plan
from benchmarks.receive import batches
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.dicom.header import read_header
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.model import InstanceHeader, Uid


def header_of(plan: Plan, number: int) -> InstanceHeader:
    """The instance's header, its structure checked to the exact end."""
    walker = DataSetWalker(Uid(EXPLICIT), HEADER_TAGS)
    for piece in plan.data_set(number).pieces:
        walker.feed(piece)
    return read_header(walker.finish())


def test_data_set_is_what_the_plan_says() -> None:
    """UIDs, patient and date of an instance follow from its number."""
    plan = Plan(TINY, "2.25.1", per_series=5, series_per_study=2)

    header = header_of(plan, 37)

    assert "2.25.1.3.37" == header.sop_instance_uid
    assert (plan.study_uid(3), plan.series_uid(7)) == (header.study_instance_uid, header.series_instance_uid)
    assert (plan.patient_id(3), plan.patient_name(3)) == (header.patient_id, header.patient_name)
    assert (plan.study_date(3), "3") == (header.study_date, header.instance_number)


def test_size_of_a_ct() -> None:
    """A CT is its pixels and a small head."""
    data_set = Plan(CT, "2.25.1").data_set(0)

    assert 512 * 512 * 2 == CT.frame_bytes
    assert 0 < data_set.size - CT.frame_bytes < 2_000


def test_frames_share_their_bytes() -> None:
    """A multi-frame object of any size takes the memory of one frame."""
    image = Image("large", MULTI_FRAME_CLASS, "OT", 8, 8, frames=50)
    plan = Plan(image, "2.25.1", per_series=1)

    pieces = plan.data_set(0).pieces

    assert 51 == len(pieces)
    assert 1 == len({id(piece) for piece in pieces[1:]})
    assert "50" == header_of(plan, 0).number_of_frames


def test_associations_share_no_study() -> None:
    """Each association sends studies of its own, and together they send what was asked for."""
    plan = Plan(TINY, "2.25.1", per_series=10, series_per_study=2)

    shares = batches(plan, 100, 4)

    assert 100 == sum(batch.stop - batch.start for batch in shares)
    studies = [{number // plan.per_study for number in range(batch.start, batch.stop)} for batch in shares]
    assert sum(map(len, studies)) == len(set[int]().union(*studies))
