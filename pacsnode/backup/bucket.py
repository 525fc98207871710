"""A backup in an object store: S3 and what speaks like it, Google Cloud Storage, Azure. The only file with obstore."""

from __future__ import annotations

import io
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import obstore
from obstore import exceptions, store

from pacsnode.errors import BackupFailure, ConfigError, NotInBackup

SCHEMES = ("s3", "gs", "az")
_AT_ONCE_BYTES = 32 * 1024 * 1024
"""Up to here one request, which the store can refuse where the name is taken; beyond, parts, and nothing to compare."""
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_A_TIME = 4
_READ_BYTES = 1024 * 1024
_REFUSED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
_STATUS = re.compile(r"<Code>(\w+)</Code>|status code:? (\d{3})|Client error with status (\d{3})|(HTTP error: [^\n]+)")


class BucketTarget:
    """A Target in a bucket, below a prefix."""

    def __init__(self, url: str, options: Mapping[str, str], *, retry_seconds: float = 60.0) -> None:
        """``options``: as obstore knows them for this kind of store; without credentials its usual chain.

        ``retry_seconds``: for how long a request that failed for no fault of ours is tried again, more and more rarely.
        Raises ConfigError.
        """
        self.url = url
        client: Any = {"connect_timeout": timedelta(seconds=10), "timeout": timedelta(seconds=120), "allow_http": True}
        retries: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=retry_seconds)}
        try:
            self._store = store.from_url(
                url, config=cast(Any, dict(options)), client_options=client, retry_config=retries
            )
        except (exceptions.BaseError, ValueError) as error:
            raise ConfigError(f"[jobs.backup] target = {url!r}: {_first_line(error)}; see docs/backup.md") from error

    def put(self, name: str, source: BinaryIO) -> bool:
        """See Target.put. Beyond 32 MiB two writers at one time would not notice each other."""
        with self._translated(name):
            if _size(source) > _AT_ONCE_BYTES:
                if self._is_there(name):
                    return False
                self._put_in_parts(name, source)
                return True
            try:
                obstore.put(self._store, name, source.read(), mode="create")
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return False
        return True

    def replace(self, name: str, source: BinaryIO) -> None:
        """See Target.replace."""
        with self._translated(name):
            self._put_in_parts(name, source)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """See Target.open."""
        with self._translated(name):
            chunks = obstore.get(self._store, name).stream(min_chunk_size=_READ_BYTES)
        yield cast(BinaryIO, _Stream(self._errors_translated(name, chunks)))

    def names(self, folder: str) -> Iterator[str]:
        """See Target.names."""
        with self._translated(folder):
            for page in obstore.list(self._store, folder):
                yield from (entry["path"] for entry in page)

    def delete(self, name: str) -> bool:
        """See Target.delete."""
        with self._translated(name):
            try:
                obstore.delete(self._store, name)
            except exceptions.NotFoundError:
                return True
            except _REFUSED:
                return False
            except exceptions.GenericError as error:  # some stores say so of what is under a lock
                if "AccessDenied" in str(error) or "403" in str(error):
                    return False
                raise
        return True

    def sweep(self) -> None:
        """Nothing: the store knows no half-written names."""

    def close(self) -> None:
        """See Target.close."""

    def _put_in_parts(self, name: str, source: BinaryIO) -> None:
        obstore.put(
            self._store,
            name,
            iter(lambda: source.read(_PART_BYTES), b""),
            chunk_size=_PART_BYTES,
            max_concurrency=_PARTS_AT_A_TIME,
        )

    def _is_there(self, name: str) -> bool:
        try:
            obstore.head(self._store, name)
        except (FileNotFoundError, exceptions.NotFoundError):
            return False
        return True

    def _errors_translated(self, name: str, chunks: Iterator[Any]) -> Iterator[Any]:
        with self._translated(name):
            yield from chunks

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, exceptions.NotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise BackupFailure(f"backup: there is no such bucket: {self.url}; create it") from error
            raise NotInBackup(f"backup: {name} is not in {self.url}") from error
        except _REFUSED as error:
            raise BackupFailure(
                f"backup: {self.url} refuses our credentials ({_first_line(error)}); see credentials_file"
            ) from error
        except (exceptions.BaseError, OSError) as error:
            raise BackupFailure(f"backup: {self.url} failed: {_first_line(error)}") from error


class _Stream(io.RawIOBase):
    """The chunks of an answer as one stream."""

    def __init__(self, chunks: Iterator[Any]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        taken = min(len(buffer), len(self._rest))
        buffer[:taken], self._rest = self._rest[:taken], self._rest[taken:]
        return taken


def options(scheme: str, *, endpoint: str, region: str, credentials: Path | None) -> dict[str, str]:
    """The options of a store of this kind; ``credentials``: a TOML file of further ones, such as ``access_key_id``.

    Raises ConfigError where that cannot be read.
    """
    found = {key: value for key, value in (("endpoint", endpoint), ("region", region)) if value}
    if scheme != "s3":
        found.pop("region", None)
    if credentials is None:
        return found
    try:
        told = tomllib.loads(credentials.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"[jobs.backup] credentials_file: {credentials}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"[jobs.backup] credentials_file: {credentials} is not TOML; see docs/backup.md") from error
    if not all(isinstance(value, str) for value in told.values()):
        raise ConfigError(f"[jobs.backup] credentials_file: {credentials} holds more than texts; see docs/backup.md")
    return found | told


def _size(source: BinaryIO) -> int:
    begin = source.tell()
    end = source.seek(0, os.SEEK_END)
    source.seek(begin)
    return end - begin


def _first_line(error: BaseException) -> str:
    """What a library says over many lines, in few words: the store's own code where it tells one."""
    text = str(error)
    if found := _STATUS.search(text):
        return next(part for part in found.groups() if part)
    return text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
