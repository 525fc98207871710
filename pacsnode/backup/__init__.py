"""The backup: objects by digest, a snapshot of the index, and a chain of manifests that name them (docs/backup.md)."""
