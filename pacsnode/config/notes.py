"""What of a configuration is right, but does not do what whoever wrote it may think."""

from __future__ import annotations

from pacsnode.config.tables import Config


def notes(config: Config) -> list[str]:
    """A line for each; about keys that were written down alone."""
    compression, backup = config.jobs.compression, config.jobs.backup
    if "keep_original" not in compression.model_fields_set or compression.keep_original == "none":
        return []
    where = f'[jobs.compression] keep_original = "{compression.keep_original}"'
    if not backup.target:
        return [f"{where}: there is no backup, so originals go at once; set [jobs.backup] target"]
    if not backup.enabled:
        return [
            f"{where}: originals are kept until `pacsnode backup run` and `verify`, for [jobs.backup] is not enabled"
        ]
    return []
