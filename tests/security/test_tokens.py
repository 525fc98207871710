"""Keys of tokens; what tokens have to be is in tests/system/test_identity.py, over the wire."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwk, jwt

from pacsnode.errors import ConfigError
from pacsnode.security.tokens import Tokens

KEYS: dict[str, jwk.RSAKey | jwk.ECKey | jwk.OKPKey] = {
    "RS256": jwk.RSAKey.generate_key(2048),
    "PS256": jwk.RSAKey.generate_key(2048),
    "ES256": jwk.ECKey.generate_key("P-256"),
    "ES384": jwk.ECKey.generate_key("P-384"),
    "EdDSA": jwk.OKPKey.generate_key("Ed25519"),
}
CLAIMS = {"sub": "anna", "aud": ["other", "archive"], "exp": 1000, "iss": "here"}


def tokens(path: Path, content: str | bytes, *, now: float = 900, issuer: str = "") -> Tokens:
    """Those that are verified with a key file of this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Tokens(str(path), audience="archive", issuer=issuer, clock=lambda: now)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("algorithm", KEYS)
def test_kinds_of_keys(tmp_path: Path, algorithm: str) -> None:
    """RSA, EC and Ed25519, as PEM, JWK or JWK set."""
    key = KEYS[algorithm]
    signed = jwt.encode({"alg": algorithm}, CLAIMS, key, algorithms=[algorithm]).encode()
    public = key.as_dict(private=False)
    contents: list[str | bytes] = [
        key.as_pem(private=False),
        json.dumps(public),
        json.dumps({"keys": [public]}),
    ]

    assert ["anna"] * 3 == [tokens(tmp_path / "key", content).user(signed) for content in contents]


def test_issuer_and_time(tmp_path: Path) -> None:
    """An issuer that is wanted has to be named; a clock that is a minute late lets nobody in any more."""
    key = KEYS["ES256"]
    signed = jwt.encode({"alg": "ES256"}, CLAIMS, key).encode()
    public = json.dumps(key.as_dict(private=False))

    assert "anna" == tokens(tmp_path / "key", public, issuer="here", now=1050).user(signed)
    for now, issuer in ((1050, "there"), (1061, "here")):
        with pytest.raises(ValueError, match="token not valid"):
            tokens(tmp_path / "key", public, issuer=issuer, now=now).user(signed)


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """A token that is signed by HMAC with the public key as its secret is refused."""
    public = KEYS["ES256"].as_pem(private=False)
    secret = jwk.OctKey.import_key(public.replace(b"-----", b"====="))
    forged = jwt.encode({"alg": "HS256"}, CLAIMS, secret).encode()

    with pytest.raises(ValueError, match="token not valid"):
        tokens(tmp_path / "key", public).user(forged)


def wrong_keys() -> dict[str, str | bytes]:
    """Contents of a key file that are no use."""
    private = ec.generate_private_key(ec.SECP256R1())
    other = dsa.generate_private_key(2048).public_key()
    return {
        "text": "no key",
        "empty": "",
        "a secret": json.dumps({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}),
        "an empty set": '{"keys": []}',
        "not JSON": "{",
        "a private key": json.dumps(KEYS["ES256"].as_dict(private=True)),
        "a private PEM": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "of another kind": other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }


@pytest.mark.parametrize("what", wrong_keys())
def test_keys_that_are_none(tmp_path: Path, what: str) -> None:
    """A file without a public key of a known kind ends the start, and the reload, with what is needed."""
    with pytest.raises(ConfigError, match=r"\[access\] token_key = .* public key of RSA, EC or Ed25519 is needed"):
        tokens(tmp_path / "key", wrong_keys()[what])


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is told."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Tokens(str(tmp_path / "none"), audience="archive")
