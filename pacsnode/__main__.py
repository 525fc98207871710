"""``python -m pacsnode`` is ``pacsnode``."""

from pacsnode.cli import main

main()
