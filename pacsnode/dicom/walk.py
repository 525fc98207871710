"""Walks the structure of a data set while it arrives (PS3.5 7), and decodes nothing.

Where the next header begins is one number, ``_at``, counted from the start of the stream: skipping a value is adding
its length, however many chunks it takes. What is open is a stack of frames, each with the byte where it must have
ended; the innermost one says what may come next. Carried from chunk to chunk is less than one header, or one value.
A cut between two top-level elements is no fault of structure: it is found by what is then missing (header.py,
completeness.py), or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from types import MappingProxyType

from pacsnode.dicom import syntax
from pacsnode.dicom.coding import (
    HEADER_BYTES,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_HEADER_BYTES,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Coding,
    coding_of,
    tag_name,
)
from pacsnode.dicom.elements import Element, Elements, Place
from pacsnode.dicom.inflate import Inflater
from pacsnode.dicom.nesting import ENDLESS, Frame, Kind, Partial, Sequence, kind_of_elements
from pacsnode.dicom.sequences import SEQUENCE_TAGS
from pacsnode.errors import BadDataset, DatasetTooLarge, FaultyElement
from pacsnode.model import Uid

_MIB = 1024 * 1024
_TEXTS = {vr: vr.decode("ascii") for vr in SHORT_VRS | LONG_VRS}
_IMPLICIT_UNUSUAL = SEQUENCE_TAGS | {ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER}

_Buffer = bytes | memoryview


class DataSetWalker:
    """Reads one data set in pieces of any size, to its exact end. Used by one thread; spent after BadDataset.

    Tolerated, since devices send it: odd lengths, any order, group length and group 0002 elements, unknown VRs, items
    in implicit VR amid explicit VR, and zeros after the end. In implicit VR standard sequences are entered; an
    unknown element of defined length is skipped, as UN is in explicit VR.
    """

    def __init__(
        self,
        transfer_syntax_uid: Uid,
        wanted: frozenset[int] | None,
        *,
        noted: frozenset[int] = frozenset(),
        max_depth: int = 64,
        max_elements: int = 1_000_000,
        max_value_bytes: int = _MIB,
        max_inflated_bytes: int = 4096 * _MIB,
    ) -> None:
        """Collect the values of ``wanted`` top-level tags; None is all that are not longer than ``max_value_bytes``.

        Of top-level tags to be ``noted``, which are no wanted ones, it is only told whether they were there.
        ``max_elements`` counts items and fragments, too. A wanted value over ``max_value_bytes`` is a BadDataset; of a
        sequence that long there is no value.
        """
        self._wanted: Container[int] = _EveryTag() if wanted is None else wanted | noted
        self._to_note = noted
        self._takes_long_values = wanted is None
        self._max_depth = max_depth
        self._max_elements = max_elements
        self._max_value_bytes = max_value_bytes
        self._inflater = Inflater(max_inflated_bytes) if syntax.is_deflated(transfer_syntax_uid) else None

        self._coding = coding_of(transfer_syntax_uid)
        self._frames = [Frame(kind_of_elements(self._coding), self._coding, 0, ENDLESS, False)]
        self._at = 0  # where the next header begins, perhaps far ahead of what was seen
        self._seen = 0  # bytes of the (inflated) data set so far
        self._carry = b""  # the begun header at _at
        self._partial: Partial | None = None
        self._sequences: list[Sequence] = []  # wanted ones whose bytes are not all here
        self._count = 0
        self._found: dict[int, Element] = {}
        self._places: dict[int, Place] = {}
        self._repeated: set[int] = set()
        self._readers: tuple[Callable[[_Buffer, int, Frame], bool], ...] = (  # by Kind
            self._read_explicit,
            self._read_implicit,
            self._read_item,
            self._read_fragments,
            self._read_padding,
        )

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; the view is not kept. Raises BadDataset as soon as the structure cannot be right."""
        if self._inflater is None:
            self._take(memoryview(chunk))
            return
        for inflated in self._inflater.inflate(chunk):
            self._take(memoryview(inflated))

    def unneeded(self) -> int:
        """How many of the next bytes say nothing: they may be passed over by ``skip`` instead of being fed."""
        if self._inflater is not None or self._partial is not None or self._carry or self._sequences:
            return 0
        return max(self._at - self._seen, 0)

    def skip(self, count: int) -> None:
        """Pass over bytes of the stream, no more of them than ``unneeded`` says."""
        self._seen += count

    def finish(self) -> Elements:
        """Say that the stream has ended. Raises BadDataset unless it ended where the data set does."""
        if self._inflater is not None:
            self._inflater.finish()
        if self._count == 0:
            raise BadDataset("empty data set")
        if self._at > self._seen:
            raise BadDataset(f"truncated: a value ends at byte {self._at} of {self._seen}")
        frame = self._frames[-1]
        if frame.kind is not Kind.PADDING and len(self._frames) > 1:
            raise BadDataset(f"truncated: sequence or item at byte {frame.start} is open")
        # A single zero may begin a tag (6000,eeee); two are group 0000, which no data set has.
        if self._carry and (len(self._carry) == 1 or self._carry.strip(b"\0")):
            raise BadDataset(f"truncated: header at byte {self._at}")
        return Elements(
            MappingProxyType(self._found),
            self._coding,
            MappingProxyType(self._places),
            frozenset(self._repeated),
        )

    def _take(self, data: memoryview) -> None:
        whole, begin = data, self._seen
        self._take_elements(data)
        if self._sequences:
            self._collect(whole, begin)

    def _take_elements(self, data: memoryview) -> None:
        if self._carry:
            data = self._complete_header(data)
        base = self._seen
        self._seen += len(data)
        if self._partial is not None:
            self._fill(self._partial, data)
        if len(data) and self._at < self._seen:
            self._walk(data, base)
            if self._at < self._seen:
                self._carry = bytes(data[self._at - base :])

    def _complete_header(self, data: memoryview) -> memoryview:
        """Read the header that the last chunk began, and return the data after what it took."""
        begin, carried = self._at, len(self._carry)
        header = self._carry + data[: LONG_HEADER_BYTES - carried]
        self._walk(header, begin)
        if self._at == begin:
            self._carry = header
            self._seen += len(data)
            return data[len(data) :]
        self._carry = b""
        taken = min(self._at - self._seen, len(header) - carried)
        self._seen += taken
        return data[taken:]

    def _walk(self, data: _Buffer, base: int) -> None:
        """Read all whole headers of the data, whose first byte is number ``base`` of the stream."""
        while True:
            frame = self._frames[-1]
            if self._at >= frame.end:
                self._end_by_length(frame)
            elif not self._readers[frame.kind](data, base, frame):
                break
        if self._count > self._max_elements:
            raise DatasetTooLarge(f"more than {self._max_elements} elements")

    def _read_explicit(self, data: _Buffer, base: int, frame: Frame) -> bool:
        """The hot loop: ordinary elements of explicit VR. False when the data has no further whole header.

        What most wanted values need of ``_keep`` is done in here: a call for each is a third of the walk.
        """
        at, end, size, count = self._at - base, frame.end - base, len(data), 0
        unpack, unpack_length = frame.coding.header.unpack_from, frame.coding.length.unpack_from
        wanted = self._wanted if len(self._frames) == 1 else ()
        found, to_note, longest, new = self._found, self._to_note, self._max_value_bytes, tuple.__new__
        while at + HEADER_BYTES <= size and at < end:
            group, number, vr, length = unpack(data, at)
            value = at + HEADER_BYTES
            if vr not in SHORT_VRS:
                value = at + LONG_HEADER_BYTES
                if vr not in LONG_VRS or value > size or (length := unpack_length(data, at + 8)[0]) == UNDEFINED_LENGTH:
                    self._at, self._count = base + at, self._count + count
                    return self._read_unusual(data, base, frame)
            count += 1
            at = value + length
            if (tag := group << 16 | number) in wanted:
                if at <= size and length <= longest and tag not in to_note:
                    element = new(Element, (_TEXTS[vr], bytes(data[value:at]), False))
                    if found.setdefault(tag, element) is not element:
                        self._enter(tag, element)
                    continue
                self._keep(tag, vr, data[value:at], length, base + value)
        self._at, self._count = base + at, self._count + count
        return at >= end

    def _read_implicit(self, data: _Buffer, base: int, frame: Frame) -> bool:
        at, end, size = self._at - base, frame.end - base, len(data)
        unpack = frame.coding.item.unpack_from
        wanted = self._wanted if len(self._frames) == 1 else ()
        while at + HEADER_BYTES <= size and at < end:
            group, number, length = unpack(data, at)
            tag, value = group << 16 | number, at + HEADER_BYTES
            self._count += 1
            if length == UNDEFINED_LENGTH or tag in _IMPLICIT_UNUSUAL or not group:
                self._at = base + value
                self._enter_implicit(tag, length, frame)
                return True
            at = value + length
            if tag in wanted:
                self._keep(tag, b"", data[value:at], length, base + value)
        self._at = base + at
        return at >= end

    def _read_unusual(self, data: _Buffer, base: int, frame: Frame) -> bool:
        """One header of explicit VR that the hot loop does not know. False when it is not whole."""
        at = self._at - base
        group, number, vr, length = frame.coding.header.unpack_from(data, at)
        tag, header_bytes = group << 16 | number, HEADER_BYTES
        if not (vr.isalpha() and vr.isupper()):
            return self._read_without_vr(data, base, frame)
        # PS3.5 6.2: VRs to come will have 32 bits of length after two zero bytes. Other than zero is no reserved field.
        if vr == b"SQ" or vr in LONG_VRS or length == 0:
            header_bytes = LONG_HEADER_BYTES
            if at + header_bytes > len(data):
                return False
            (length,) = frame.coding.length.unpack_from(data, at + 8)
        self._count += 1
        self._at += header_bytes
        if vr == b"SQ" or length == UNDEFINED_LENGTH:
            self._open(tag, vr, length, frame)
            return True
        value = at + header_bytes
        self._at += length
        if len(self._frames) == 1 and tag in self._wanted:
            self._keep(tag, vr, data[value : value + length], length, base + value)
        return True

    def _read_without_vr(self, data: _Buffer, base: int, frame: Frame) -> bool:
        """A delimiter, the zeros after the end, or an item that is in implicit VR amid explicit VR."""
        group, number, length = frame.coding.item.unpack_from(data, self._at - base)
        tag, is_top = group << 16 | number, len(self._frames) == 1
        if group == 0xFFFE:
            self._count += 1
            self._at += HEADER_BYTES
            self._end_by_delimiter(tag, length, frame)
        elif is_top and tag == length == 0 and self._count:
            self._frames.append(Frame(Kind.PADDING, frame.coding, self._at, ENDLESS, False))
        elif not is_top and self._at == frame.start:
            self._frames[-1] = frame._replace(kind=Kind.IMPLICIT)
        else:
            raise BadDataset(f"{tag_name(tag)} at byte {self._at} has no VR")
        return True

    def _enter_implicit(self, tag: int, length: int, frame: Frame) -> None:
        if tag >> 16 == 0xFFFE:
            self._end_by_delimiter(tag, length, frame)
        elif tag >> 16:
            self._open(tag, b"", length, frame)
        elif tag == length == 0 and len(self._frames) == 1 and self._count > 1:
            self._frames.append(Frame(Kind.PADDING, frame.coding, self._at, ENDLESS, False))
        else:
            raise BadDataset(f"{tag_name(tag)} at byte {self._at - HEADER_BYTES} in a data set")

    def _read_item(self, data: _Buffer, base: int, frame: Frame) -> bool:
        at = self._at - base
        if at + HEADER_BYTES > len(data):
            return False
        group, number, length = frame.coding.item.unpack_from(data, at)
        self._count += 1
        self._at += HEADER_BYTES
        if (tag := group << 16 | number) != ITEM:
            self._end_by_delimiter(tag, length, frame)
            return True
        self._push(kind_of_elements(frame.coding), frame.coding, length)
        return True

    def _read_fragments(self, data: _Buffer, base: int, frame: Frame) -> bool:
        """Encapsulated pixels (PS3.5 A.4): items of defined length until the sequence delimiter."""
        while (at := self._at - base) + HEADER_BYTES <= len(data):
            group, number, length = frame.coding.item.unpack_from(data, at)
            self._count += 1
            self._at += HEADER_BYTES
            if (tag := group << 16 | number) != ITEM:
                self._end_by_delimiter(tag, length, frame)
                return True
            if length == UNDEFINED_LENGTH:
                raise BadDataset(f"fragment at byte {self._at - HEADER_BYTES} has no length")
            self._at += length
            if self._at >= frame.end:
                return True
        return False

    def _read_padding(self, data: _Buffer, base: int, frame: Frame) -> bool:
        if bytes(data[self._at - base :]).strip(b"\0"):
            raise BadDataset(f"other than zeros after the end at byte {frame.start}")
        self._at = base + len(data)
        return False

    def _open(self, tag: int, vr: bytes, length: int, frame: Frame) -> None:
        """Enter the value that begins at ``_at``: a sequence, or fragments."""
        is_top = len(self._frames) == 1
        if is_top and tag in self._to_note:
            self._place(tag, Place(self._at, vr.decode("ascii"), length))
        if length == UNDEFINED_LENGTH and (vr in (b"OB", b"OW") or (tag == PIXEL_DATA and not vr)):
            self._push(Kind.FRAGMENTS, frame.coding, length)
            return
        if vr not in (b"SQ", b"UN", b""):
            raise BadDataset(f"{tag_name(tag)} at byte {self._at} has no length")
        if len(self._frames) >= 2 * self._max_depth:
            raise DatasetTooLarge(f"sequences nested deeper than {self._max_depth}")
        # PS3.5 6.2.2 note 4: of undefined length, UN is a sequence in implicit VR little endian, whatever is around it.
        self._push(Kind.ITEMS, IMPLICIT_LITTLE if vr == b"UN" else frame.coding, length)
        if is_top and tag in self._wanted and tag not in self._to_note:
            self._sequences.append(Sequence(tag, self._at, is_implicit=vr == b"UN"))

    def _push(self, kind: Kind, coding: Coding, length: int) -> None:
        outer = self._frames[-1].end
        end = outer if length == UNDEFINED_LENGTH else self._at + length
        if end > outer:
            raise BadDataset(f"sequence or item at byte {self._at} exceeds what it is in")
        self._frames.append(Frame(kind, coding, self._at, end, length == UNDEFINED_LENGTH))

    def _end_by_length(self, frame: Frame) -> None:
        if self._at > frame.end:
            raise BadDataset(f"element runs past the end of its item at byte {frame.end}")
        if frame.is_delimited:
            raise BadDataset(f"sequence or item at byte {frame.start} has no delimiter")
        self._pop(frame.end)

    def _end_by_delimiter(self, tag: int, length: int, frame: Frame) -> None:
        is_inside_sequence = frame.kind in (Kind.ITEMS, Kind.FRAGMENTS)
        if tag != (SEQUENCE_DELIMITER if is_inside_sequence else ITEM_DELIMITER) or not frame.is_delimited or length:
            raise BadDataset(f"unexpected {tag_name(tag)} at byte {self._at - HEADER_BYTES}")
        self._pop(self._at - HEADER_BYTES)

    def _pop(self, end: int) -> None:
        self._frames.pop()
        if len(self._frames) == 1 and self._sequences and self._sequences[-1].end == ENDLESS:
            self._sequences[-1].end = end

    def _collect(self, data: memoryview, begin: int) -> None:
        """Take the bytes of wanted sequences out of the data, whose first byte is number ``begin`` of the stream."""
        for sequence in self._sequences:
            if len(sequence.value) <= self._max_value_bytes:
                first = max(sequence.start + len(sequence.value) - begin, 0)
                sequence.value += data[first : max(sequence.end - begin, 0)]
        complete = [sequence for sequence in self._sequences if sequence.end <= self._seen]
        self._sequences = [sequence for sequence in self._sequences if sequence.end > self._seen]
        for sequence in complete:
            del sequence.value[sequence.end - sequence.start :]  # what was taken of the delimiter before it was known
            value = bytes(sequence.value) if len(sequence.value) <= self._max_value_bytes else b""
            self._enter(sequence.tag, Element("SQ", value, sequence.is_implicit))

    def _keep(self, tag: int, vr: bytes, value: _Buffer, length: int, value_at: int) -> None:
        """Take the value, or as much of it as is there."""
        if tag in self._to_note:
            self._place(tag, Place(value_at, vr.decode("ascii"), length))
            return
        if length > self._max_value_bytes:
            if self._takes_long_values:
                return
            raise FaultyElement(f"{tag_name(tag)} is longer than {self._max_value_bytes} bytes", tag=tag)
        if len(value) < length:
            self._partial = Partial(tag, vr, bytearray(value), length)
            return
        self._enter(tag, Element(vr.decode("ascii"), bytes(value)))

    def _place(self, tag: int, place: Place) -> None:
        if tag in self._places:
            self._repeated.add(tag)
        self._places[tag] = place

    def _fill(self, partial: Partial, data: memoryview) -> None:
        partial.value.extend(data[: partial.length - len(partial.value)])
        if len(partial.value) == partial.length:
            self._partial = None
            self._enter(partial.tag, Element(partial.vr.decode("ascii"), bytes(partial.value)))

    def _enter(self, tag: int, element: Element) -> None:
        # Readers differ in whether the first or the last one counts: what says two things cannot be filed.
        if self._found.setdefault(tag, element) != element:
            raise FaultyElement(f"{tag_name(tag)} is there twice, with different values", tag=tag)


class _EveryTag:
    def __contains__(self, tag: object) -> bool:
        return True
