"""Identifiers of pending C-FIND responses (PS3.4 C.4.1.1.3.2): what all matches of a query share is worked out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pacsnode.dicom import charset, iso2022
from pacsnode.dicom.attributes import BY_TAG, Attribute
from pacsnode.dicom.encode import (
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    writer_of,
)
from pacsnode.dicom.identifier import FindRequest
from pacsnode.dicom.items import SequenceKey, Told, wanted_items
from pacsnode.model import Match, Uid

_ESCAPE = iso2022.ESCAPE.decode("ascii")


class MatchEncoder:
    """Writes the matches of one query: what was asked for and we know, empty where unknown.

    The character set is the request's where it can say all of a match, else ISO_IR 192, and none where all is ASCII.
    """

    def __init__(
        self,
        request: FindRequest,
        transfer_syntax_uid: Uid,
        *,
        retrieve_ae_title: str,
        availability: str = "ONLINE",
    ) -> None:
        self._writer = writer_of(transfer_syntax_uid)
        if request.read:
            self._writer = self._writer.knowing({tag: attribute.vr for tag, attribute in request.read.items()})
        self._terms = request.specific_character_set
        self._answered = request.answered
        own = {
            QUERY_RETRIEVE_LEVEL: request.level.value,
            RETRIEVE_AE_TITLE: retrieve_ae_title,
            INSTANCE_AVAILABILITY: availability,
        }
        self._own = {tag: self._writer.element(tag, text.encode("ascii", "replace")) for tag, text in own.items()}
        self._told = [request.read.get(tag) or BY_TAG[tag] for tag in request.answered if tag not in own]
        self._sequences = request.sequences
        self._names = [attribute.name for attribute in self._told]
        self._numeric = [place for place, attribute in enumerate(self._told) if attribute.vr == "US"]
        self._frame()

    def encode(self, match: Match) -> bytes:
        """The identifier of a response."""
        values = match.values
        texts = [values[name] for name in self._names]
        if self._sequences:
            return self._general(texts)
        everything = "".join(texts)
        # Nearly all are like that, and take a third of the time so (benchmarks/query.py: all studies).
        if everything.isascii() and _ESCAPE not in everything and len(everything) < len(self._writer.lengths):
            return self._plain(texts)
        return self._general(texts)

    def _frame(self) -> None:
        """The text between the values, up to each one's length; in Latin-1, that is, a character for each byte."""
        self._heads: list[str] = []
        self._paddings = [self._writer.headers[attribute.tag][1].decode("latin-1") for attribute in self._told]
        constant = ""
        for tag in self._answered:
            if tag in self._own:
                constant += self._own[tag].decode("latin-1")
            else:
                self._heads.append(constant + self._writer.headers[tag][0].decode("latin-1"))
                constant = ""
        self._tail = constant

    def _plain(self, texts: list[str]) -> bytes:
        for place in self._numeric:
            texts[place] = self._writer.shorts(texts[place]).decode("latin-1")
        lengths = self._writer.lengths
        elements = [
            f"{head}{lengths[len(text)]}{text}{padding if len(text) & 1 else ''}"
            for head, padding, text in zip(self._heads, self._paddings, texts, strict=True)
        ]
        return ("".join(elements) + self._tail).encode("latin-1")

    def _general(self, texts: list[str]) -> bytes:
        told = list(zip(self._told, texts, strict=True))
        items = {tag: wanted_items(text, self._sequences[tag]) for tag, text in self._of_sequences(told)}
        spoken = [text for attribute, text in told if attribute.vr in charset.TEXT_VRS]
        spoken += [text for tag, found in items.items() for text in _spoken(found, self._sequences[tag])]
        _, terms = charset.encode("\\".join(spoken), self._terms)
        elements = {
            attribute.tag: self._writer.element(attribute.tag, self._value(attribute, text, terms))
            for attribute, text in told
            if attribute.tag not in items
        }
        elements |= {tag: self._sequence(self._sequences[tag], found, terms) for tag, found in items.items()}
        elements |= self._own
        character_set = self._writer.element(SPECIFIC_CHARACTER_SET, terms.encode("ascii")) if terms else b""
        return character_set + b"".join([elements[tag] for tag in self._answered])

    def _of_sequences(self, told: Sequence[tuple[Attribute, str]]) -> Iterator[tuple[int, str]]:
        return ((attribute.tag, text) for attribute, text in told if attribute.tag in self._sequences)

    def _sequence(self, key: SequenceKey, items: Sequence[Told], terms: str) -> bytes:
        written = []
        for item in items:
            elements = []
            for one in key.keys:
                tag = (one.attribute if isinstance(one, SequenceKey) else one).tag
                value = item[f"{tag:08X}"]
                if isinstance(one, SequenceKey):
                    elements.append(self._sequence(one, value if isinstance(value, list) else [], terms))
                else:
                    elements.append(self._writer.element(tag, self._value(one, str(value), terms)))
            written.append(b"".join(elements))
        return self._writer.sequence(key.attribute.tag, written)

    def _value(self, attribute: Attribute, text: str, terms: str) -> bytes:
        if attribute.vr == "US":
            return self._writer.shorts(text)
        if attribute.vr in charset.TEXT_VRS:
            return charset.encode(text, terms)[0]
        return text.encode("latin-1", "replace")


def _spoken(items: Sequence[Told], key: SequenceKey) -> Iterator[str]:
    """All text of the items that the character set has to be able to say."""
    for item in items:
        for one in key.keys:
            value = item[f"{(one.attribute if isinstance(one, SequenceKey) else one).tag:08X}"]
            if isinstance(one, SequenceKey):
                yield from _spoken(value if isinstance(value, list) else [], one)
            elif one.vr in charset.TEXT_VRS:
                yield str(value)
