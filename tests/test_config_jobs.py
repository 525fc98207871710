"""The configuration of jobs: schedules, their time zone, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode import config
from pacsnode.config import Jobs
from pacsnode.errors import ConfigError
from tests.test_config import NO_TABLE, TIME, write

JOBS = Jobs().tables
SCHEDULE = (
    'a schedule such as "every 5 min" (units s, min, h, d), or minute, hour, day, month and day of the week as of '
    'cron, "0 2 * * *" or "30 4 * * sun"'
)
HOUSEKEEPING = "[jobs.housekeeping]\nschedule = "

MISTAKES = [
    (
        "[jobs]\ntime_zone = 'Brussels'",
        '[jobs] time_zone = "Brussels": not a time zone; '
        'a name of the IANA database such as "Europe/Brussels", or "" for the machine\'s',
    ),
    (
        "[jobs.housekeepin]\n",
        "[jobs] housekeepin = {}: unknown key; did you mean housekeeping? "
        f"known here are time_zone, {', '.join(JOBS)}",
    ),
    (
        "[jobs.housekeeping]\nscedule = ''",
        '[jobs.housekeeping] scedule = "": unknown key; did you mean schedule? '
        "known here are enabled, schedule, longest_run",
    ),
    ("[jobs]\nhousekeeping = 3", f"[jobs] housekeeping = 3: {NO_TABLE}"),
    (f"{HOUSEKEEPING}5", f"[jobs.housekeeping] schedule = 5: not a schedule; {SCHEDULE}"),
    (f"{HOUSEKEEPING}'daily'", f'[jobs.housekeeping] schedule = "daily": not a schedule; {SCHEDULE}'),
    (f"{HOUSEKEEPING}'0 2 * *'", f'[jobs.housekeeping] schedule = "0 2 * *": not a schedule; {SCHEDULE}'),
    (
        f"{HOUSEKEEPING}'every 0.5 s'",
        '[jobs.housekeeping] schedule = "every 0.5 s": too short or too long; "every 1 s" to "every 366 d", '
        f"or {SCHEDULE}",
    ),
    (
        f"{HOUSEKEEPING}'0 24 * * *'",
        f'[jobs.housekeeping] schedule = "0 24 * * *": hour 24 is not one from 0 to 23; {SCHEDULE}',
    ),
    (
        f"{HOUSEKEEPING}'0 2 * * 5-1'",
        f'[jobs.housekeeping] schedule = "0 2 * * 5-1": day of the week 5-1 names nothing; {SCHEDULE}',
    ),
    (
        f"{HOUSEKEEPING}'*/0 * * * *'",
        f'[jobs.housekeeping] schedule = "*/0 * * * *": minute */0 names nothing; {SCHEDULE}',
    ),
    (
        f"{HOUSEKEEPING}'0 2 1, * *'",
        f'[jobs.housekeeping] schedule = "0 2 1, * *": day 1, cannot be read; {SCHEDULE}',
    ),
    (
        f"{HOUSEKEEPING}'0 2 1 * mon'",
        '[jobs.housekeeping] schedule = "0 2 1 * mon": '
        "a day and a day of the week at once, which could mean two things; * for one of them",
    ),
    (
        f"{HOUSEKEEPING}'0 2 31 feb,apr *'",
        '[jobs.housekeeping] schedule = "0 2 31 feb,apr *": a day that none of these months has; a day that there is',
    ),
    (
        "[jobs.housekeeping]\nlongest_run = '10'",
        f'[jobs.housekeeping] longest_run = "10": not a number with a known unit; {TIME}',
    ),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES, ids=[complaint[:60] for _, complaint in MISTAKES])
def test_mistake_is_explained_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    """A wrong value is told with file, table, key and value, what is wrong with it and what is allowed."""
    path = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    assert f"{path}: {complaint}" == str(caught.value)


@pytest.mark.parametrize("schedule", ["every 5 min", "every 1.5 h", "*/5 0-6,23 * jan-mar mon-5", "0 2 29 FEB *"])
def test_toml_loads_to_the_same(tmp_path: Path, schedule: str) -> None:
    """What `config show` prints of jobs is the configuration in effect."""
    text = f"[jobs]\ntime_zone = 'Asia/Tokyo'\n[jobs.housekeeping]\nschedule = '{schedule}'\nlongest_run = '0 s'\n"
    loaded = config.load(write(tmp_path, text))

    assert schedule == str(loaded.jobs.housekeeping.schedule)
    assert loaded == config.load(write(tmp_path, config.toml(loaded)))
