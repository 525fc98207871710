"""TLS as the BCP 195 profile of DICOM wants it (PS3.15 B.12; RFC 8996, RFC 9325), and what is wrong with its files.

A handshake is the affair of the thread that serves or asks for the one connection, under a deadline.
"""

from __future__ import annotations

import socket
import ssl
import time
from itertools import chain, repeat

from pacsnode.config import Tls
from pacsnode.errors import ConfigError

# With TLS 1.2, ephemeral keys and authenticated encryption only (RFC 9325 4.2); all that TLS 1.3 has are such.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_SERVER_OPTIONS = ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
_MAX_FLIGHTS = 10


def for_acceptor(settings: Tls) -> ssl.SSLContext:
    """What a TLS listener needs. Raises ConfigError where a file is missing, not what it should be, or expired."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.options |= _SERVER_OPTIONS
    context.num_tickets = 0
    _load_certificate(context, settings)
    _refuse_unusable(context, settings.certificate)
    if settings.require_client_certificate:
        _trust(context, "client_ca", settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def for_requestor(settings: Tls) -> ssl.SSLContext:
    """What we need to connect to peers by TLS; our own certificate, where there is one, is for those that ask for it.

    Raises ConfigError as ``for_acceptor`` does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    _restrict(context)
    if settings.certificate:
        _load_certificate(context, settings)
    key = "peer_ca" if settings.peer_ca else "client_ca"
    _trust(context, key, settings.peer_ca or settings.client_ca)
    return context


def connect(sock: socket.socket, context: ssl.SSLContext, name: str, deadline: float) -> ssl.SSLSocket:
    """Our handshake with a peer whose certificate has to be made out to ``name``.

    Raises OSError, also at the deadline (``time.monotonic`` seconds); ``sock`` is closed then.
    """
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        return context.wrap_socket(sock, server_hostname=name)
    except BaseException:
        sock.close()
        raise


def explained(error: OSError) -> str:
    """Why a handshake failed, in words."""
    if isinstance(error, TimeoutError):
        return "nothing within the deadline"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)


def _load_certificate(context: ssl.SSLContext, settings: Tls) -> None:
    _refuse_unreadable("certificate", settings.certificate)
    _refuse_unreadable("key", settings.key)
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=_no_passphrase)
    except _Encrypted as error:
        raise _wrong("key", settings.key, "has a passphrase; write it without one: openssl pkey") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            words = f"is not the key of {settings.certificate}; name the key that the certificate was asked for with"
            raise _wrong("key", settings.key, words) from error
        if _has_certificate(settings.certificate):
            raise _wrong("key", settings.key, "has no private key in it; a PEM file with one") from error
        raise _wrong("certificate", settings.certificate, _NO_CERTIFICATE) from error


def _trust(context: ssl.SSLContext, key: str, path: str) -> None:
    _refuse_unreadable(key, path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise _wrong(key, path, _NO_CERTIFICATE) from error


def _refuse_unusable(acceptor: ssl.SSLContext, path: str) -> None:
    """Shake hands with ourselves: a client that trusts this very certificate tells whether it is good for a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(path)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there)
    server = acceptor.wrap_bio(there, back, server_side=True)
    for side in chain.from_iterable(repeat((client, server), _MAX_FLIGHTS)):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            words = f"cannot be used: {error.verify_message}; see openssl x509 -dates, and have a new one made"
            raise _wrong("certificate", path, words) from error
        except ssl.SSLError as error:
            raise _wrong("certificate", path, f"cannot be used: {explained(error)}; an RSA or EC one") from error


def _refuse_unreadable(key: str, path: str) -> None:
    try:
        with open(path, "rb") as stream:
            stream.read(1)
    except OSError as error:
        raise _wrong(key, path, f"cannot be read: {error.strerror}; a PEM file readable for the node's user") from error


def _has_certificate(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


def _no_passphrase() -> str:
    raise _Encrypted


def _wrong(key: str, path: str, words: str) -> ConfigError:
    return ConfigError(f'[tls] {key} = "{path}": {words}; see docs/tls.md')


class _Encrypted(Exception):
    """The private key has a passphrase, which nobody is there to type."""


_NO_CERTIFICATE = "has no certificate in it; a PEM file with one"
