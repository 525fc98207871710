"""The types of configuration values: each reads what a file may say, or tells what is wrong and what is allowed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

KIB, MIB, GIB = 2**10, 2**20, 2**30
# Each table begins with the units to be preferred when a quantity is written: the first that needs no fraction.
_BYTES = {
    "TiB": 2**40,
    "GiB": GIB,
    "MiB": MIB,
    "KiB": KIB,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 1000,
    "B": 1,
}
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1000, "ms": 1}
_QUANTITY = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([A-Za-z]{1,3})")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_NO_PORT = re.compile(r"\[[^\[\]]+\]|[^\[\]:]+")
_DICOM_TLS_PORT = 2762  # PS3.15 B.12
_LISTENER = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([0-9]{1,5})")
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_COLLECTOR = re.compile(r"(tls|udp)://(?:\[([^\[\]]+)\]|([^\[\]:/]+))(?::([0-9]{1,5}))?")
_SYSLOG_PORTS = {"tls": 6514, "udp": 514}  # RFC 5425 4.1, RFC 5426 3.3
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_SINGLE_BYTE = "6|13|100|101|109|110|126|127|138|144|148|166|203"
# PS3.3 Tables C.12-2 to C.12-5
_TERM = re.compile(rf"ISO_IR (?:{_SINGLE_BYTE}|192)|ISO 2022 IR (?:{_SINGLE_BYTE}|58|87|149|159)|GB18030|GBK")
_MAX_UID_CHARACTERS = 64  # PS3.5 9.1
_MAX_SOCKET_BYTES = 100  # the kernel takes 107
_MAX_AE_CHARACTERS = 16  # PS3.5 6.2, VR AE


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Right = Literal["echo", "store", "find", "get", "move", "commit"]


class Address(NamedTuple):
    """Where to listen. ``port`` 0 is any free one; an IPv6 ``host`` is without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Can this machine alone connect?"""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Collector(NamedTuple):
    """Where audit messages go: the ``protocol`` is "tls" or "udp"; an IPv6 ``host`` is without its brackets."""

    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}://{Address(self.host, self.port)}"


def ae_title(text: str) -> str:
    """The text without leading and trailing blanks. Raises ValueError where that is no AE title (PS3.5 6.2)."""
    title = text.strip(" ")
    if not 1 <= len(title) <= _MAX_AE_CHARACTERS or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError("not an AE title; 1 to 16 printable ASCII characters without a backslash, not all blanks")
    return title


def _host(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        looks_numeric = re.fullmatch("[0-9.]+", text) or ":" in text
        if looks_numeric or not _HOST_NAME.fullmatch(text):
            raise ValueError('not a host; a name, an IPv4 address or an IPv6 address such as "::1"') from error
    return text


def _host_or_none(text: str) -> str:
    return text and _host(text)


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    allowed = '"HOST:PORT" such as "127.0.0.1:11112", "0.0.0.0:104" or "[::1]:11112", the port from 0 to 65535'
    found = _LISTENER.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[3]) > 65535 or (":" in (found[1] or ":")) is False:
        raise ValueError(f"not an address to listen on; {allowed}")
    try:
        return Address(_host(found[1] or found[2]), int(found[3]))
    except ValueError as error:
        raise ValueError(f"not an address to listen on; {allowed}") from error


def _collector(value: object) -> Collector | None:
    if isinstance(value, Collector):
        return value
    if value == "" or value is None:
        return None
    allowed = '"tls://HOST:PORT" or "udp://HOST:PORT", or "" for none'
    found = _COLLECTOR.fullmatch(value) if isinstance(value, str) else None
    port = int(found[4] or _SYSLOG_PORTS[found[1]]) if found is not None else 0
    if found is None or not 1 <= port <= 65535:
        raise ValueError(f"not a collector's address; {allowed}")
    try:
        return Collector(found[1], _host(found[2] or found[3]), port)
    except ValueError as error:
        raise ValueError(f"not a collector's address; {allowed}") from error


def _collector_text(collector: Collector | None) -> str:
    return str(collector) if collector is not None else ""


def _audit_file(path: Path) -> Path:
    if path == Path() or path.parts[0].startswith("~"):
        raise ValueError("not a file's path; an absolute path, or one relative to the folder of the data")
    return path


def _uid(text: str) -> str:
    if len(text) > _MAX_UID_CHARACTERS or not _UID.fullmatch(text):
        raise ValueError("not a UID; up to 64 digits and dots, no component with a leading zero")
    return text


def _character_set(text: str) -> str:
    if text and not all(_TERM.fullmatch(term) for term in text.removeprefix("\\").split("\\")):
        raise ValueError(
            'not a Specific Character Set; a defined term of PS3.3 C.12.1.1.2 such as "ISO_IR 100", "ISO_IR 192", '
            '"GB18030" or "ISO 2022 IR 149", more of them with backslashes between'
        )
    return text


def _network(value: object) -> Network:
    if isinstance(value, Network):
        return value
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(
            'not an address or network; such as "10.0.0.5", "10.0.0.0/24" or "2001:db8::/64", no bits beside the mask'
        ) from error


def _fingerprint(text: str) -> str:
    digits = text.lower().removeprefix("sha256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError('not a fingerprint; "sha256:" and 64 hexadecimal digits, see: pacsnode peer pending')
    return digits


def _one_or_many(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value  # strict: what a validator returns must be a tuple


def _tls_listeners(value: object) -> object:
    if value == "":
        return ()
    values = _one_or_many(value)
    if not isinstance(values, tuple):
        return values
    return tuple(
        f"{one}:{_DICOM_TLS_PORT}" if isinstance(one, str) and _NO_PORT.fullmatch(one) else one for one in values
    )


def _metrics_listener(text: str) -> str:
    if not text or (text.startswith("/") and len(text.encode()) <= _MAX_SOCKET_BYTES):
        return text
    if not text.startswith("/") and _address(text).is_loopback:
        return text
    raise ValueError(
        'beyond this machine, or too long; "HOST:PORT" of loopback such as "127.0.0.1:9104" or "[::1]:9104", '
        'the absolute path of a Unix socket of up to 100 bytes, or "" for none'
    )


def _pem_file(path: str) -> str:
    if path.startswith("~") or "\0" in path:
        raise ValueError("not a file's path; an absolute path, or one relative to this file's folder, or \"\" for none")
    return path


def _data_folder(path: Path) -> Path:
    if path == Path() or path.parts[0].startswith("~"):
        raise ValueError("not a folder's path; an absolute path, or one relative to this file's folder")
    return path


def _index_folder(path: Path) -> Path:
    if path.parts and path.parts[0].startswith("~"):
        raise ValueError("not a folder's path; an absolute path, or one relative to the folder of the data")
    return path


def _quantity(value: object, info: ValidationInfo, units: Mapping[str, int], allowed: str) -> Decimal | None:
    """The number in the smallest unit, or None where a program passed a plain number: only a file has to say units."""
    if not isinstance(value, str):
        if info.mode == "json":
            raise ValueError(f"a number with its unit, in quotes, is needed; {allowed}")
        return None
    found = _QUANTITY.fullmatch(value)
    if found is None or found[2] not in units:
        raise ValueError(f"not a number with a known unit; {allowed}")
    return Decimal(found[1]) * units[found[2]]


def _size(value: object, info: ValidationInfo) -> object:
    allowed = 'a size in whole bytes such as "4 GiB", "10 kB" or "0 B"; units are ' + ", ".join(reversed(_BYTES))
    size = _quantity(value, info, _BYTES, allowed)
    if size is not None and size != int(size):
        raise ValueError(f"not whole bytes; {allowed}")
    return value if size is None else int(size)


def _rate(value: object, info: ValidationInfo) -> object:
    allowed = 'a rate such as "10 kB/s" or "50 MiB/s", at least "1 B/s"'
    if isinstance(value, str) and not value.endswith("/s"):
        raise ValueError(f"not a rate; {allowed}")
    rate = _quantity(value.removesuffix("/s") if isinstance(value, str) else value, info, _BYTES, allowed)
    if rate is not None and (rate != int(rate) or rate < 1):
        raise ValueError(f"not a rate in whole bytes; {allowed}")
    return value if rate is None else int(rate)


def _duration(value: object, info: ValidationInfo) -> object:
    allowed = 'a time such as "30 s" or "10 min"; units are ' + ", ".join(reversed(_MILLISECONDS))
    milliseconds = _quantity(value, info, _MILLISECONDS, allowed)
    return value if milliseconds is None else float(milliseconds / 1000)


def _buffer_range(size: int) -> int:
    if not KIB <= size <= 64 * MIB:
        raise ValueError('outside of what one association may hold in memory; "1 KiB" to "64 MiB"')
    return size


def _deadline_range(seconds: float) -> float:
    if not 0.001 <= seconds <= 366 * 86_400:
        raise ValueError('outside of what can be waited for; "1 ms" to "366 d"')
    return seconds


def _duration_range(seconds: float) -> float:
    return seconds and _deadline_range(seconds)


def size_text(size: int) -> str:
    """The size as a file says it, exactly: ``"256 KiB"``, ``"10 kB"``, ``"0 B"``."""
    unit = next(unit for unit, factor in _BYTES.items() if factor == 1 or (size and size % factor == 0))
    return f"{size // _BYTES[unit]} {unit}"


def duration_text(seconds: float) -> str:
    """The time as a file says it, to the microsecond: ``"10 min"``, ``"1500 ms"``."""
    milliseconds = round(Decimal(repr(seconds)) * 1000, 3)
    if not milliseconds:
        return "0 s"
    unit = next(unit for unit, factor in _MILLISECONDS.items() if factor == 1 or milliseconds % factor == 0)
    return f"{(milliseconds / _MILLISECONDS[unit]).normalize():f} {unit}"


def _rate_text(rate: int) -> str:
    return size_text(rate) + "/s"


def _one_or_many_text(addresses: tuple[Address, ...]) -> str | list[str]:
    texts = [str(address) for address in addresses] or [""]
    return texts[0] if len(texts) == 1 else texts


def _in_order(rights: frozenset[str]) -> list[str]:
    return sorted(rights, key=get_args(Right).index)


def _text_schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


AeTitle = Annotated[str, AfterValidator(ae_title)]
"""An Application Entity title without leading and trailing blanks (PS3.5 6.2)."""
Host = Annotated[str, AfterValidator(_host)]
HostOrNone = Annotated[str, AfterValidator(_host_or_none)]
Listener = Annotated[
    Address, PlainValidator(_address), PlainSerializer(str, return_type=str), _text_schema("127.0.0.1:11112")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Listeners = Annotated[
    tuple[Listener, ...],
    BeforeValidator(_one_or_many),
    Field(min_length=1),
    PlainSerializer(_one_or_many_text),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1}),
]
TlsListeners = Annotated[
    tuple[Listener, ...],
    BeforeValidator(_tls_listeners),
    PlainSerializer(_one_or_many_text),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]
"""As Listeners, but none is fine, ``""`` in a file, and the port is 2762 where none is said."""
MetricsListener = Annotated[str, AfterValidator(_metrics_listener)]
"""Host and port of loopback, the path of a Unix socket, or "" for none."""
PemFile = Annotated[str, AfterValidator(_pem_file)]
"""Path of a file, ``credential:NAME`` for one that systemd hands over; "" where there is none."""
Networks = Annotated[
    tuple[
        Annotated[
            Network, PlainValidator(_network), PlainSerializer(str, return_type=str), _text_schema("10.0.0.0/24")
        ],
        ...,
    ],
    Field(),
]
"""Addresses, and networks of them."""
CertificateName = Annotated[str, Field(min_length=1)]
"""What a certificate may be made out to."""
Fingerprint = Annotated[str, AfterValidator(_fingerprint), PlainSerializer("sha256:{}".format, return_type=str)]
"""SHA-256 of a certificate or of its public key, as 64 hexadecimal digits; ``"sha256:…"`` in a file."""
DataFolder = Annotated[Path, AfterValidator(_data_folder)]
IndexFolder = Annotated[Path, AfterValidator(_index_folder)]
AuditFile = Annotated[Path, AfterValidator(_audit_file)]
CollectorOrNone = Annotated[
    Collector | None,
    PlainValidator(_collector),
    PlainSerializer(_collector_text, return_type=str),
    _text_schema("tls://collector.example:6514"),
]
CharacterSet = Annotated[str, AfterValidator(_character_set), Field(examples=["ISO_IR 100"])]
"""A value of Specific Character Set (0008,0005); "" is none."""
SopClass = Annotated[str, AfterValidator(_uid)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0, le=2**60), PlainSerializer(size_text), _text_schema("4 GiB")]
"""Bytes; ``"4 GiB"`` in a file."""
Buffer = Annotated[Size, AfterValidator(_buffer_range)]
"""Bytes that one association may make us hold in memory."""
Rate = Annotated[int, BeforeValidator(_rate), Field(ge=1), PlainSerializer(_rate_text), _text_schema("10 kB/s")]
"""Bytes per second; ``"10 kB/s"`` in a file."""
Deadline = Annotated[
    float,
    BeforeValidator(_duration),
    AfterValidator(_deadline_range),
    PlainSerializer(duration_text),
    _text_schema("10 min"),
]
"""Seconds; ``"10 min"`` in a file."""
DurationOrNone = Annotated[
    float,
    BeforeValidator(_duration),
    AfterValidator(_duration_range),
    PlainSerializer(duration_text),
    _text_schema("10 min"),
]
"""Seconds; 0, ``"0 s"`` in a file, where there is no limit."""
Count = Annotated[int, Field(ge=1, le=100_000)]
Rights = Annotated[frozenset[Right], PlainSerializer(_in_order, return_type=list[str])]
