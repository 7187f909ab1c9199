"""A certificate of one's own for a farm's network, made at the first start by OpenSSL."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from besana.errors import ConfigError

CERTIFICATE, KEY = "web.pem", "web.key"
_DAYS = 3650


def own_certificate(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Give the workspace's own certificate and key, made when they are missing.

    Args:
        folder: The workspace.
        names: Names and addresses by which browsers call this machine.

    Raises:
        ConfigError: If OpenSSL is not there or refused.
    """
    files = (folder / CERTIFICATE, folder / KEY)
    if all(file.exists() for file in files):
        return files
    shown = ",".join(f"{_kind(name)}:{name}" for name in ("localhost", "127.0.0.1", *names))
    # The key is for its owner only from the first byte on.
    os.close(os.open(files[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", str(_DAYS)]
    command += ["-subj", "/CN=besana", "-addext", f"subjectAltName={shown}"]
    command += ["-keyout", str(files[1]), "-out", str(files[0])]
    hint = "Give a certificate with --certificate and --key."
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        raise ConfigError("A certificate of one's own needs the program openssl.", hint) from None
    if done.returncode:
        for file in files:
            file.unlink(missing_ok=True)
        raise ConfigError(f"OpenSSL refused: {done.stderr.strip()[-200:]}.", hint)
    files[1].chmod(0o600)
    return files


def fingerprint(certificate: Path) -> str:
    """Give the SHA-256 of a certificate as browsers show it."""
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text("ascii"))
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))


def _kind(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"
