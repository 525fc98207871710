"""The tables of the jobs. A job has a table ``[jobs.NAME]``: a field of that name in ``Jobs``, of its own class."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from pacsnode.config.rules import parse as parse_rule
from pacsnode.config.schedule import ScheduleText, parse
from pacsnode.config.table import Table
from pacsnode.config.values import MIB, Deadline, DurationOrNone, PemFile, Rate

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


class Integrity(JobTable):
    """The job that reads every object again, and repairs what is damaged; see Integrity in docs/operations.md."""

    schedule: ScheduleText = parse("every 5 min")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    full_pass: Deadline = 30 * 86_400.0
    """Time within which every object is read again, if `rate` allows for it."""
    rate: Rate = 50 * MIB
    """How much it reads and writes at most."""
    repair: bool = True
    """true: a sound copy takes the place of what is damaged or missing; false: it is only set aside and reported."""
    repair_from: tuple[str, ...] = ()
    """Names of peers that are asked for copies by C-GET, one after the other, where the backup has none."""


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
    """"none": what was replaced goes at once; "until-backup": when the backup has the new one and read it again."""

    @property
    def codec_by_kind(self) -> dict[str, str]:
        """The exceptions: a codec, or "none", by modality or UID of the SOP class."""
        return dict(exception.split("=", 1) for exception in self.exceptions)


class Backup(JobTable):
    """The job that copies what is new to another place; see docs/backup.md."""

    enabled: bool = False
    """true: it runs by its schedule, and its verification and drill by theirs; needs a target."""
    schedule: ScheduleText = parse("every 5 min")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    target: str = ""
    """Where to: a folder, "file:///mnt/backup", or a bucket, "s3://bucket/prefix", "gs://…", "az://container/prefix"."""
    key_file: PemFile = ""
    """File of an age key that seals what is copied: a recipient writes, an identity reads, too; "" is none."""
    endpoint: str = ""
    """URL of an object store that is not its inventor's own, such as "https://s3.example.org"."""
    region: str = ""
    """Region of a bucket of S3; "" is what the environment says."""
    credentials_file: PemFile = ""
    """TOML file with the credentials of a bucket; "" looks where the store's own tools do."""
    snapshot_every: Deadline = 86_400.0
    """Time between two snapshots of the index; between them only what changed is written."""
    keep_daily: Annotated[int, Field(ge=0, le=3660)] = 7
    """Days of which the last snapshot is kept."""
    keep_weekly: Annotated[int, Field(ge=0, le=520)] = 4
    """Weeks of which the last snapshot is kept."""
    deletion_grace: Deadline = 30 * 86_400.0
    """Time for which the backup keeps what was removed here."""
    stale_after: Deadline = 86_400.0
    """Age of the backup from which on the node is degraded."""
    transfers: Annotated[int, Field(ge=1, le=64)] = 4
    """Objects at a time that are copied, read again or restored."""


class BackupVerify(JobTable):
    """The job that reads the backup again, a part at a time."""

    full_pass: Deadline = 30 * 86_400.0
    """Time within which all of the backup is read."""


class BackupDrill(JobTable):
    """The job that restores a snapshot and a sample of objects, and compares."""

    schedule: ScheduleText = parse("0 5 * * sun")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    objects: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Objects that are restored, from all times alike."""


def _rule(text: str) -> str:
    parse_rule(text)
    return text


class Retention(JobTable):
    """The job that deletes studies by rules, and empties the trash; see Deleting in docs/operations.md."""

    schedule: ScheduleText = parse("30 1 * * *")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    grace: DurationOrNone = 30 * 86_400.0
    """Time for which a deleted study is kept in the trash, from where `pacsnode study undelete` brings it back."""
    rules: tuple[Annotated[str, AfterValidator(_rule)], ...] = ()
    """What is deleted by itself: ["older_than=10 y", "older_than=90 d modality=US,SR peer=TEST"]; none by default."""
    require_backup: bool = True
    """true: only studies whose every object was read in the backup just before; without a backup, none."""


class Jobs(Table):
    """What is done by itself; see the chapter of jobs in docs/operations.md. Each job has a table of its own below."""

    time_zone: Annotated[str, AfterValidator(_zone)] = ""
    """Time zone of schedules such as "0 2 * * *": a name such as "Europe/Brussels"; "" is the machine's."""
    housekeeping: Housekeeping = Housekeeping()
    """See [jobs.housekeeping]."""
    integrity: Integrity = Integrity()
    """See [jobs.integrity]."""
    compression: Compression = Compression()
    """See [jobs.compression]."""
    backup: Backup = Backup()
    """See [jobs.backup]."""
    backup_verify: BackupVerify = BackupVerify()
    """See [jobs.backup_verify]."""
    backup_drill: BackupDrill = BackupDrill()
    """See [jobs.backup_drill]."""
    retention: Retention = Retention()
    """See [jobs.retention]."""

    @property
    def keeps_originals(self) -> bool:
        """Does compression keep what it replaced until the backup has the new one?"""
        return self.compression.keep_original == "until-backup" and bool(self.backup.target)

    @property
    def tables(self) -> dict[str, JobTable]:
        """The table of each job by the job's name; without a backup nothing looks after one."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        tables = {name: value for name, value in fields if isinstance(value, JobTable)}
        if not self.backup.enabled:
            off = {"enabled": False}
            tables |= {name: tables[name].model_copy(update=off) for name in ("backup_verify", "backup_drill")}
        return tables
