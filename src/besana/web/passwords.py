"""Passwords as they are kept, and the patience that makes guessing them slow."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
import unicodedata

from besana.web.gate import RefusedError

SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 200

# RFC 7914, 32 MB and about 0.1 s a guess; two at a time, so that guessing cannot fill the memory.
_N, _R, _P = 1 << 15, 8, 1
_SCRYPT_SLOTS = threading.Semaphore(2)

# Takes as long as a real one, so that a stranger's name cannot be told from a wrong password.
NOBODY = f"scrypt${'0' * 32}${'0' * 128}"


def _scrypt(password: str, salt: bytes) -> bytes:
    with _SCRYPT_SLOTS:
        return hashlib.scrypt(
            unicodedata.normalize("NFC", password).encode(),
            salt=salt,
            n=_N,
            r=_R,
            p=_P,
            maxmem=1 << 26,
        )


def coded_password(password: str) -> str:
    """Hash a new password with a salt of its own.

    Raises:
        RefusedError: If it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        problem = f"A password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters."
        raise RefusedError(422, "wrong_password_length", problem)
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${_scrypt(password, salt).hex()}"


def is_password(password: str, coded: str) -> bool:
    """Tell whether a password is the one that was hashed."""
    _, salt, key = coded.split("$")
    made = _scrypt(password[:_LONGEST_PASSWORD], bytes.fromhex(salt))
    return hmac.compare_digest(made, bytes.fromhex(key))


class Patience:
    """Make guessing slow: each failure doubles the time until the next try, up to 15 minutes.

    Args:
        free: Failures without waiting.
        most: How many names and addresses are remembered.
    """

    def __init__(self, free: int = 5, most: int = 10_000) -> None:
        self._free, self._most = free, most
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def check(self, *keys: str) -> None:
        """Refuse when one of the keys has failed too often lately."""
        now = time.monotonic()
        with self._lock:
            left = max(self._failures.get(key, (0, 0.0))[1] - now for key in keys)
        if left > 0:
            raise RefusedError(
                429, "slow_down", "Too many wrong tries; wait a little.", retry_s=int(left) + 1
            )

    def failed(self, *keys: str) -> None:
        """Count a failure."""
        now = time.monotonic()
        with self._lock:
            for key in keys:
                count = self._failures.pop(key, (0, 0.0))[0] + 1
                wait_s = min(900.0, 2.0 ** (count - self._free)) if count > self._free else 0.0
                self._failures[key] = (count, now + wait_s)
            while len(self._failures) > self._most:
                self._failures.pop(next(iter(self._failures)))

    def succeeded(self, *keys: str) -> None:
        """Forget the failures."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)
