"""JSON Web Tokens of users, verified with the public key of who makes them (RFC 7519, RFC 8725)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from pacsnode.errors import ConfigError

# Signatures that a public key verifies (RFC 8725 3.1): no HMAC, and never "none".
_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA", "Ed25519"),
}
_LEEWAY_SECONDS = 60  # of two clocks
_Key = Any  # joserfc's keys have no common type that its own decoder takes


class Tokens:
    """What tokens have to be; raises ConfigError where the key cannot be used."""

    def __init__(
        self, key_file: str, *, audience: str, issuer: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = _read(key_file)
        self._algorithms = sorted({one for key in _each(self._keys) for one in _ALGORITHMS.get(key.key_type, ())})
        if not self._algorithms:
            raise _wrong(key_file, _ALLOWED)
        self._audience = audience
        self._issuer = issuer
        self._clock = clock

    def user(self, token: bytes) -> str:
        """Whose token it is: its subject. Raises ValueError for one that does not hold here and now."""
        claims = {"exp": _claim(), "sub": _claim(), "aud": _claim(self._audience)}
        if self._issuer:
            claims["iss"] = _claim(self._issuer)
        try:
            decoded = jwt.decode(token, self._keys, algorithms=self._algorithms)
            jwt.JWTClaimsRegistry(int(self._clock()), _LEEWAY_SECONDS, **claims).validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"token not valid: {type(error).__name__}") from error
        subject = decoded.claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise ValueError("token not valid: its subject is no name")
        return subject


def _claim(value: str = "") -> jwt.ClaimsOption:
    return {"essential": True, "value": value} if value else {"essential": True}


def _read(path: str) -> _Key:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    try:
        if not raw.lstrip().startswith(b"{"):
            return jwk.import_key(raw, _key_type(raw))
        found = json.loads(raw)
        keys = jwk.KeySet.import_key_set(found) if "keys" in found else jwk.import_key(found)
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        raise _wrong(path, _ALLOWED) from error
    if any(key.is_private for key in _each(keys)):
        raise _wrong(path, f"holds a secret that who verifies has no need of; {_ALLOWED}")
    return keys


def _key_type(pem: bytes) -> Literal["RSA", "EC", "OKP"]:
    match load_pem_public_key(pem):
        case rsa.RSAPublicKey():
            return "RSA"
        case ec.EllipticCurvePublicKey():
            return "EC"
        case ed25519.Ed25519PublicKey():
            return "OKP"
    raise ValueError("of another kind")


def _each(keys: _Key) -> list[_Key]:
    return list(keys.keys) if isinstance(keys, jwk.KeySet) else [keys]


def _wrong(path: str, words: str) -> ConfigError:
    return ConfigError(f'[access] token_key = "{path}": {words}')


_ALLOWED = "a public key of RSA, EC or Ed25519 is needed, as PEM, JWK or JWK set"
