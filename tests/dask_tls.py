"""Certificates of a little authority of our own, and how Dask is told of them."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VARIABLE = "DASK_DISTRIBUTED__COMM__TLS__"
ROLES = ("SCHEDULER", "WORKER", "CLIENT")


def tls_environment(place: Path, name: str) -> dict[str, str]:
    """Make an authority, and a certificate that it signed; return the variables that name them to Dask."""
    place.mkdir(exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _signed(f"{name} authority", ca_key, f"{name} authority", ca_key, is_ca=True)
    key = ec.generate_private_key(ec.SECP256R1())
    cert = _signed(name, key, f"{name} authority", ca_key, is_ca=False)
    files = {kind: place / f"{name}-{kind}.pem" for kind in ("ca", "cert", "key")}
    files["ca"].write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    files["cert"].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    files["key"].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    variables = {f"{VARIABLE}CA_FILE": str(files["ca"])}
    for role in ROLES:
        variables |= {f"{VARIABLE}{role}__{kind.upper()}": str(files[kind]) for kind in ("cert", "key")}
    return variables


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    is_ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
