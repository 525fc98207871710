"""The tables of the jobs. A job has a table ``[jobs.NAME]``: a field of that name in ``Jobs``, of its own class."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from zoneinfo import available_timezones

from pydantic import AfterValidator

from pacsnode.config.schedule import ScheduleText, parse
from pacsnode.config.table import Table
from pacsnode.config.values import DurationOrNone

CodecName = Literal["htj2k", "jpeg-ls", "jpeg2000", "rle"]
LEFT_ALONE = "none"
"""What an exception says instead of a codec."""
_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")


def _zone(name: str) -> str:
    if name and name not in available_timezones():
        raise ValueError(
            'not a time zone; a name of the IANA database such as "Europe/Brussels", or "" for the machine\'s'
        )
    return name


class JobTable(Table):
    """What all jobs have in common. A subclass gives the defaults; it needs a default for every key."""

    enabled: bool = True
    """true: it runs by its schedule; false: only by `pacsnode job run`."""
    schedule: ScheduleText = parse("every 1 h")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    longest_run: DurationOrNone = 0.0
    """Time after which a run ends, and the next one goes on; "0 s" is the time from one run to the next."""


class Housekeeping(JobTable):
    """The job that checks the file of the index and forgets old runs of all jobs."""

    schedule: ScheduleText = parse("30 3 * * *")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    longest_run: DurationOrNone = 300.0
    """Time after which a run ends, and the next one goes on; "0 s" is the time from one run to the next."""


def _exception(text: str) -> str:
    kind, _, codec = text.partition("=")
    is_kind = _MODALITY.fullmatch(kind) or _UID.fullmatch(kind)
    if not is_kind or codec not in (*get_args(CodecName), LEFT_ALONE):
        raise ValueError(
            'not an exception; a modality or a SOP class, "=" and a codec or none: "US=jpeg-ls", '
            '"1.2.840.10008.5.1.4.1.1.7=none"'
        )
    return text


class Compression(JobTable):
    """The job that encodes old native instances losslessly; see the chapter of compression in docs/operations.md."""

    older_than: DurationOrNone = 7 * 86_400.0
    """Age, from its arrival, from which on an instance is compressed."""
    codec: CodecName = "htj2k"
    """What with: "htj2k", "jpeg-ls", "jpeg2000" or "rle"."""
    exceptions: tuple[Annotated[str, AfterValidator(_exception)], ...] = ()
    """Another codec, or "none", for a modality or SOP class, which counts more: ["US=rle", "1.2.840…1.7=none"]."""
    keep_original: Literal["none", "until-backup"] = "until-backup"
    """"none": what was replaced goes at once; "until-backup": when a verified backup has the new one."""

    @property
    def codec_by_kind(self) -> dict[str, str]:
        """The exceptions: a codec, or "none", by modality or UID of the SOP class."""
        return dict(exception.split("=", 1) for exception in self.exceptions)


class Jobs(Table):
    """What is done by itself; see the chapter of jobs in docs/operations.md. Each job has a table of its own below."""

    time_zone: Annotated[str, AfterValidator(_zone)] = ""
    """Time zone of schedules such as "0 2 * * *": a name such as "Europe/Brussels"; "" is the machine's."""
    housekeeping: Housekeeping = Housekeeping()
    """See [jobs.housekeeping]."""
    compression: Compression = Compression()
    """See [jobs.compression]."""

    @property
    def tables(self) -> dict[str, JobTable]:
        """The table of each job by the job's name."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in fields if isinstance(value, JobTable)}
