"""What a node shows of itself to others, and whom it speaks with: a key and a certificate that follow from a secret."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.services import secret
from tasks.core.store.open import home

_BEGIN = "-----BEGIN CERTIFICATE-----"


def identity(seed: bytes) -> bytes:
    """A private key and its certificate in PEM, the same bytes wherever they are made of the same 32 bytes."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(seed)
    # Of several certificates that are trusted OpenSSL takes the one of the name: each key has a name of its own.
    whose = hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"a training {whose[:40]}")])
    paper = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    paper = paper.serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    paper = paper.not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
    kind = serialization.PrivateFormat.PKCS8
    shown = private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    return shown + paper.sign(private, None).public_bytes(serialization.Encoding.PEM)


def of_home(training: str) -> bytes:
    """What this home shows in one attempt at a training: other homes cannot make it."""
    return identity(secret.key(home(), f"training {training}"))


def certificate(own: bytes) -> str:
    """What of an identity others may see."""
    return own.decode()[own.decode().index(_BEGIN) :]


def context(side: int, identity_file: Path, trusted: Path | None = None) -> ssl.SSLContext:
    """Only who has a certificate out of the file `trusted` (None: this node's own), and its key, is spoken with; names
    say nothing."""
    made = ssl.SSLContext(side)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(identity_file)
    made.load_verify_locations(trusted or identity_file)
    return made
