from tests.cli.conftest import archive, folder

__all__ = ["archive", "folder"]
