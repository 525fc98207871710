"""Compression: what was swapped has the same pixels, what was not has a reason, and nothing else changes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import BinaryIO

import pytest

from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Scratch, open_image
from pacsnode.codec.sandbox import Sandbox
from pacsnode.compression.database import STATE_FILE, CompressionState
from pacsnode.compression.job import CompressionJob
from pacsnode.compression.policy import Policy
from pacsnode.dicom import encapsulation, recode, syntax
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.errors import BadDataset, CodecFailure, CodecUnavailable, ObjectDamaged
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.model import Instance, Key, Outcome
from pacsnode.storage.filesystem import FilesystemStore
from tests.codec.pixels import pixel_digest
from tests.compression.scene import (
    KINDS,
    POLICY,
    age,
    compress,
    dump,
    image,
    job,
    keys,
    opened,
    rows,
    store,
    store_sample,
    wicked,
)
from tests.compression.scene import Times as Clock
from tests.system import material

HTJ2K = Codec.HTJ2K.transfer_syntax_uid


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(tmp_path) as made:
        yield made


def native(archive: Archive, instance: Instance, folder: Path, coder: Sandbox) -> str:
    """Digest of the pixels; "" where there are none that we can read."""
    stored = instance.stored
    with archive.store.open(stored.key) as source:
        source.seek(stored.offset)
        try:
            with open_image(source, stored.size, stored.transfer_syntax_uid, Scratch(folder)) as image:
                return pixel_digest(image, coder)
        except (CodecFailure, ObjectDamaged):
            return ""


def others(archive: Archive, instance: Instance, folder: Path) -> bytes:
    """The data set without its pixels, in explicit VR little endian."""
    stored = instance.stored
    with archive.store.open(stored.key) as source:
        source.seek(stored.offset)
        data = source.read()
    explicit = stored.transfer_syntax_uid
    if syntax.is_deflated(explicit):  # explicit VR little endian within, byte by byte
        data, explicit = b"".join(recode.inflated([data], max_bytes=1 << 30)), syntax.EXPLICIT_VR_LITTLE_ENDIAN
    if explicit in (syntax.IMPLICIT_VR_LITTLE_ENDIAN, syntax.EXPLICIT_VR_BIG_ENDIAN):
        data = b"".join(recode.to_explicit_syntax([data], explicit, max_bytes=1 << 30))
        explicit = syntax.EXPLICIT_VR_LITTLE_ENDIAN
    layout = encapsulation.locate(io.BytesIO(data), len(data), explicit)
    before, behind = layout.kept()
    return b"".join(data[part.begin : part.end] for part in (*before, *behind))


def state(folder: Path) -> CompressionState:
    return CompressionState(folder / STATE_FILE)


def reasons(folder: Path) -> dict[str, int]:
    with closing(state(folder)) as kept:
        return kept.refused()


@pytest.mark.parametrize("codec", list(Codec))
def test_every_kind_of_image(codec: Codec, archive: Archive, tmp_path: Path) -> None:
    """Of each kind the pixels and all else are the same afterwards, or there is a reason why it was left alone."""
    for number, kind in enumerate(KINDS, 1):
        store(archive, image(kind, number))
    before, objects = rows(archive), set(keys(archive))
    with Sandbox() as coder:
        digests = [native(archive, instance, tmp_path, coder) for instance in before]
        whole = [others(archive, instance, tmp_path) for instance in before]
        report = compress(archive, tmp_path, Policy(codec, POLICY.older_than))
        after = rows(archive)

        assert digests == [native(archive, instance, tmp_path, coder) for instance in after]
        assert whole == [others(archive, instance, tmp_path) for instance in after]
    swapped = [instance for instance in after if instance.stored.key not in objects]
    assert (len(swapped), len(KINDS) - len(swapped)) == (report.done, report.skipped + report.failed)
    assert len(KINDS) - len(swapped) == sum(reasons(tmp_path).values())
    assert report.done >= 7
    assert all(codec.transfer_syntax_uid == instance.stored.transfer_syntax_uid for instance in swapped)
    assert {instance.stored.key for instance in after} == set(keys(archive))
    assert [(one.header, one.received_at, one.calling_ae, one.called_ae) for one in before] == [
        (one.header, one.received_at, one.calling_ae, one.called_ae) for one in after
    ]
    assert [] == [finding for finding in archive.verify(after) if finding is not None]


def test_real_files(archive: Archive, tmp_path: Path) -> None:
    """The same for every real file that can be stored."""
    samples = material.real()
    if not samples:
        pytest.skip("no real files")
    for sample in samples:
        try:
            store_sample(archive, sample)
        except BadDataset:
            continue
    before, objects = rows(archive), set(keys(archive))
    is_native = [not syntax.is_encapsulated(one.stored.transfer_syntax_uid) for one in before]
    with Sandbox() as coder:
        digests = [native(archive, instance, tmp_path, coder) for instance in before]
        report = compress(archive, tmp_path)
        after = rows(archive)

        assert digests == [native(archive, instance, tmp_path, coder) for instance in after]
    swapped = sum(instance.stored.key not in objects for instance in after)
    assert (swapped, sum(is_native) - swapped) == (report.done, report.skipped + report.failed)
    assert sum(is_native) - swapped == sum(reasons(tmp_path).values())
    assert 0 == report.failed
    assert report.bytes_after < report.bytes_before
    assert [one for one, is_it in zip(before, is_native, strict=True) if not is_it] == [
        one for one, is_it in zip(after, is_native, strict=True) if not is_it
    ]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (
            "return engines.encode(codec, pixels, bytes([frame[0] ^ 1]) + frame[1:])",
            "the codec does not give back what it was given",
        ),
        ("os.abort()", "the codec crashed"),
        ("raise SystemError", "the codec crashed"),
        ("time.sleep(1000)", "the codec took too long"),
        ("while True: pass", "the codec crashed"),
        ("bytearray(8 * 1024**3)", "the codec wanted too much memory"),
    ],
)
def test_codec_that_cannot_be_trusted(statement: str, reason: str, archive: Archive, tmp_path: Path) -> None:
    """A codec that lies, crashes, hangs or eats memory costs that instance's attempt; the job goes on."""
    for number, size in enumerate((40, 48, 40), 1):
        store(archive, image(KINDS[0], number, size))
    before = rows(archive)
    report = compress(archive, tmp_path, command=wicked(statement))

    assert (2, 0, 1) == (report.done, report.skipped, report.failed)
    kept = reasons(tmp_path)
    assert kept in ({reason: 1}, {"the codec took too long": 1})  # on a machine that is busy
    assert before[1] == rows(archive)[1]
    assert 3 == len(keys(archive))


def test_damaged_original_stays(archive: Archive, tmp_path: Path) -> None:
    """An object that is not what came is not compressed, which would hide it."""
    store(archive, image(KINDS[0]))
    (key,) = keys(archive)
    path = tmp_path / "objects" / key
    content = path.read_bytes()
    path.chmod(0o640)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    report = compress(archive, tmp_path)

    assert (0, 1) == (report.done, report.failed)
    assert {"the object is damaged": 1} == reasons(tmp_path)
    assert [key] == keys(archive)


def test_original_sent_again(archive: Archive, tmp_path: Path) -> None:
    """Who sends the original again hears Success, and nothing is written."""
    files = [image(kind, number) for number, kind in enumerate(KINDS[:6], 1)]
    for file in files:
        store(archive, file)
    compress(archive, tmp_path)
    before = dump(archive), keys(archive)

    assert [Outcome.ALREADY_THERE] * 12 == [store(archive, file) for file in files + files]
    assert before == (dump(archive), keys(archive))


def test_rebuilt_index(archive: Archive, tmp_path: Path) -> None:
    """The index that is rebuilt from the files after compression is the same, row by row."""
    for number, kind in enumerate(KINDS, 1):
        store(archive, image(kind, number))
    compress(archive, tmp_path)

    with closing(SqliteIndex(tmp_path / "rebuilt.db")) as index:
        rebuilt = Archive(archive.store, index, Clock())
        assert [None] * len(KINDS) == list(rebuilt.rebuild())
        assert dump(archive) == dump(rebuilt)


def test_what_is_young_or_left_to_policy(archive: Archive, tmp_path: Path) -> None:
    """Nothing younger than ``older_than`` is touched, nor what the policy leaves alone."""
    store(archive, image(KINDS[0], 1))
    before = keys(archive)

    assert 0 == job(archive, tmp_path).run(RunBudget()).done
    assert 0 == compress(archive, tmp_path, Policy(Codec.HTJ2K, POLICY.older_than, {"CT": None})).done
    assert before == keys(archive)
    by_class = {"CT": None, rows(archive)[0].header.sop_class_uid: Codec.RLE}
    assert 1 == compress(archive, tmp_path, Policy(Codec.HTJ2K, POLICY.older_than, by_class)).done
    assert Codec.RLE.transfer_syntax_uid == rows(archive)[0].stored.transfer_syntax_uid


def test_refused_once(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a codec cannot do is not tried again until its version changes; then all is looked at anew."""
    store(archive, image(KINDS[0], 1))
    assert 1 == compress(archive, tmp_path, command=wicked("os.abort()")).failed
    assert 0 == compress(archive, tmp_path).done
    other = Policy(Codec.HTJ2K, POLICY.older_than, {"US": None})  # begins anew, and finds the reason that was kept
    again = compress(archive, tmp_path, other)
    assert (0, 1, 0) == (again.done, again.skipped, again.failed)

    monkeypatch.setattr("pacsnode.compression.run.codec_version", lambda codec: "the next one")
    monkeypatch.setattr("pacsnode.compression.policy.codec_version", lambda codec: "the next one")
    assert 1 == compress(archive, tmp_path).done
    assert {} == reasons(tmp_path)


@pytest.mark.parametrize("command", [("/nowhere",), (sys.executable, "-c", "raise SystemExit(1)")])
def test_no_codec_process_for_a_while(command: Sequence[str], archive: Archive, tmp_path: Path) -> None:
    """A machine that cannot start a process just now ends the run, and is no reason to leave an instance alone."""
    for number in range(1, 4):
        store(archive, image(KINDS[0], number))
    with pytest.raises(CodecUnavailable):
        compress(archive, tmp_path, command=command)
    with pytest.raises(CodecUnavailable):
        job(archive, tmp_path, command=command).rehearse(RunBudget())

    assert {} == reasons(tmp_path)
    assert 3 == compress(archive, tmp_path).done


def test_no_codec_process_any_more(archive: Archive, tmp_path: Path) -> None:
    """What was encoded before is put in place, and the next run goes on behind it."""
    for number in range(1, 4):
        store(archive, image(KINDS[0], number))
    age(archive)

    class Ending(Sandbox):
        """Two instances, then no more."""

        encoded = 0

        def encode(self, codec: Codec, pixels: PixelDescription, frame: bytes) -> bytes:
            self.encoded += 1
            if self.encoded > 2:
                raise CodecUnavailable("no codec process could be started")
            return super().encode(codec, pixels, frame)

    with pytest.raises(CodecUnavailable):
        CompressionJob(archive, tmp_path, POLICY, coder=Ending).run(RunBudget())
    assert 2 == sum(one.stored.transfer_syntax_uid == HTJ2K for one in rows(archive))
    assert 1 == compress(archive, tmp_path).done


def test_run_ends_with_its_budget(archive: Archive, tmp_path: Path) -> None:
    """A run that has to end says so, and the next one goes on."""
    for number in range(1, 6):
        store(archive, image(KINDS[0], number))
    age(archive)
    asked = iter([False, False, False])  # before leftovers are none: two instances

    class Short(RunBudget):
        def expired(self) -> bool:
            return next(asked, True)

    first = job(archive, tmp_path).run(Short())
    second = job(archive, tmp_path).run(RunBudget())

    assert not first.finished
    assert second.finished
    assert 5 == first.done + second.done
    assert 0 < first.done < 5


class RottenStore(FilesystemStore):
    """A disk that gives back another last byte of what was written to it since ``sound`` was noted."""

    sound: frozenset[Key] = frozenset()

    def open(self, key: Key) -> BinaryIO:
        """See FilesystemStore.open."""
        if key in self.sound:
            return super().open(key)
        with super().open(key) as file:
            content = file.read()
        return io.BytesIO(content[:-1] + bytes([content[-1] ^ 1]))

    def read_into(self, key: Key, buffer: memoryview) -> int:
        """See FilesystemStore.read_into."""
        size = super().read_into(key, buffer)
        buffer[size - 1] ^= key not in self.sound
        return size


def test_what_the_disk_does_not_give_back(archive: Archive, tmp_path: Path) -> None:
    """An object that is another one when it is read again takes nobody's place, and is removed."""
    store(archive, image(KINDS[0]))
    rotten = RottenStore(tmp_path)
    rotten.sound = frozenset(keys(archive))
    age(archive)
    report = job(Archive(rotten, archive.index, archive.clock), tmp_path).run(RunBudget())

    assert 0 == report.done
    assert set(keys(archive)) == rotten.sound == {instance.stored.key for instance in rows(archive)}


def test_instance_removed_while_it_is_compressed(archive: Archive, tmp_path: Path) -> None:
    """What has no place in the index to take leaves no object, and the others of its batch get theirs."""
    for number in range(1, 4):
        store(archive, image(KINDS[0], number))
    age(archive)
    first = rows(archive)[0]

    class Removing(RunBudget):
        def spend(self, size: int) -> None:
            archive.index.remove(first.header.sop_instance_uid)

    assert 2 == job(archive, tmp_path).run(Removing()).done
    assert {first.stored.key, *(instance.stored.key for instance in rows(archive))} == set(keys(archive))
    assert {HTJ2K} == {instance.stored.transfer_syntax_uid for instance in rows(archive)}


def test_original_kept_until_it_may_go(archive: Archive, tmp_path: Path) -> None:
    """An original is kept as long as the new object is in no backup, is no finding, and goes then."""
    for number in range(1, 4):
        store(archive, image(KINDS[0], number))
    originals, backed_up = keys(archive), set[Key]()
    age(archive)
    keeping = CompressionJob(archive, tmp_path, POLICY, may_go=lambda: nullcontext(backed_up.__contains__))

    assert 3 == keeping.run(RunBudget()).done
    assert set(originals) <= set(keys(archive))
    with closing(state(tmp_path)) as kept:
        assert 3 == kept.kept()[0]
        assert originals == [kept.original_of(instance.stored.key) for instance in rows(archive)]
    backed_up.add(rows(archive)[1].stored.key)
    keeping.run(RunBudget())
    assert {originals[0], originals[2]} == set(originals) & set(keys(archive))
    with closing(SqliteIndex(tmp_path / "rebuilt.db")) as index:
        list(Archive(archive.store, index, Clock()).rebuild())
        assert dump(archive) == list(index.dump())


def test_original_that_has_a_row_stays(archive: Archive, tmp_path: Path) -> None:
    """An object that the index points to is removed by nobody, whatever may go."""
    store(archive, image(KINDS[0]))
    (before,) = rows(archive)
    age(archive)
    CompressionJob(archive, tmp_path, POLICY, may_go=lambda: nullcontext(lambda _: False)).run(RunBudget())
    archive.index.add_beside(before, keys(archive))  # as a recovery may that takes it for another version
    left_alone = Policy(None, POLICY.older_than)
    CompressionJob(archive, tmp_path, left_alone).run(RunBudget())

    assert before.stored.key in keys(archive)
    assert [] == [finding for finding in archive.verify(rows(archive)) if finding is not None]


def test_removed_instance_leaves_no_original(archive: Archive, tmp_path: Path) -> None:
    """Where an instance is removed while its original is kept, that does not come back by a rebuilt index."""
    store(archive, image(KINDS[0]))
    age(archive)
    CompressionJob(archive, tmp_path, POLICY, may_go=lambda: nullcontext(lambda _: False)).run(RunBudget())
    removed = archive.index.remove(rows(archive)[0].header.sop_instance_uid)
    assert removed is not None
    archive.store.delete(removed.stored.key)
    job(archive, tmp_path).run(RunBudget())

    assert [] == keys(archive)
    assert [] == list(archive.rebuild())


def test_rehearsal_changes_nothing(archive: Archive, tmp_path: Path) -> None:
    """A dry run estimates the saving from a sample, and writes nothing at all."""
    for number in range(1, 6):
        store(archive, image(KINDS[0], number))
    store(archive, image(KINDS[14], 6))
    age(archive)
    before = dump(archive), keys(archive), sorted(path.name for path in tmp_path.iterdir())
    report = job(archive, tmp_path).rehearse(RunBudget())

    assert (5, 1) == (report.done, report.skipped)
    assert report.bytes_before - report.bytes_after == report.details["estimated bytes saved"]
    assert before == (dump(archive), keys(archive), sorted(path.name for path in tmp_path.iterdir()))


def test_totals(archive: Archive, tmp_path: Path) -> None:
    """What was gained is known by codec and modality, over all runs."""
    for number in range(1, 4):
        store(archive, image(KINDS[0], number))
        compress(archive, tmp_path)
    with closing(state(tmp_path)) as kept:
        (total,) = kept.totals()

    assert ("htj2k", "CT", 3) == (total.codec, total.modality, total.instances)
    assert total.bytes_after == sum(one.stored.size for one in rows(archive))
