"""A certificate for DTLS as WebRTC wants it: self-signed, of the curve P-256 (RFC 8827 §6.5)."""

import subprocess
from pathlib import Path

from peer import Failed

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def p256(folder: Path) -> tuple[Path, Path]:
    """Makes the certificate and its private key, as two files of PEM."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    files = ["-out", str(certificate), "-keyout", str(key)]
    made = subprocess.run(
        ["openssl", "req", "-x509", *_CURVE, "-days", "30", "-subj", "/CN=WebRTC", *files],
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        raise Failed(f"openssl makes no certificate: {made.stderr}")
    return certificate, key
