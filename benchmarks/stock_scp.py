"""A storage SCP as pynetdicom's documentation has it, on its defaults, as a program: what hostile peers do to it."""

from __future__ import annotations

import logging
import resource
import ssl
import sys
import threading
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

_MOST_BYTES = 8 << 30  # of address space: it must not take the machine's memory from what is measured


def main(folder: Path, port: int, tls_port: int, certificate: str, key: str, ca: str) -> None:
    """Serve on both ports until the process ends; instances become files of the folder."""

    def keep(event: Event) -> int:
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        data_set.save_as(folder / data_set.SOPInstanceUID, enforce_file_format=True)
        return 0x0000

    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    logging.disable()
    entity = AE("STOCK")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    handlers = [(evt.EVT_C_STORE, keep)]
    entity.start_server(("127.0.0.1", tls_port), block=False, ssl_context=context, evt_handlers=handlers)  # type: ignore[arg-type]
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:7])
