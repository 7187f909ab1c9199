"""Who may use the pages: people, their passwords, sessions and invitations, and what they did.

They lie in `web.db` beside the catalog, readable by nobody else on this machine: whoever may read
the catalog learns nothing about passwords. Tokens are kept as hashes only.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from besana.errors import ConfigError
from besana.web.gate import ROLES, Caller, RefusedError
from besana.web.passwords import NOBODY, coded_password, is_password

FILE = "web.db"
_LONGEST_NAME = 60
SESSION_S = 7 * 24 * 3600
IDLE_S = 14 * 3600
INVITATION_S = 7 * 24 * 3600
_SEEN_EVERY_S = 300

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
    name TEXT PRIMARY KEY, folded TEXT UNIQUE NOT NULL, role TEXT NOT NULL,
    password TEXT NOT NULL, joined_at REAL NOT NULL, active INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS sessions (
    digest TEXT PRIMARY KEY, name TEXT NOT NULL, csrf TEXT NOT NULL,
    begun_at REAL NOT NULL, seen_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS invitations (
    digest TEXT PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, made_by TEXT NOT NULL,
    ends_at REAL NOT NULL, used_by TEXT);
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
    about TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS choices (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS audit_stays BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER IF NOT EXISTS audit_says_the_same BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
"""


@dataclass
class _Session:
    name: str
    csrf: str
    begun_at: float
    seen_at: float


class People:
    """The people of one workspace; safe to use from several threads.

    Args:
        path: The file, made when missing, for its owner only.

    Raises:
        ConfigError: If the file is not a database.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{path} is not what besana wrote: {error}.", "Move it.") from None
        self._roles = dict(self._rows("SELECT name, role FROM people WHERE active"))
        self._sessions = {
            digest: _Session(*values)
            for digest, *values in self._rows(
                "SELECT digest, name, csrf, begun_at, seen_at FROM sessions"
            )
        }
        self._once: set[str] = set()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __len__(self) -> int:
        return len(self._roles)

    def names(self, *roles: str) -> list[str]:
        """List active people, sorted; those of some roles, or all."""
        return sorted(name for name, role in self._roles.items() if not roles or role in roles)

    def listed(self) -> list[dict[str, Any]]:
        """List everybody who ever joined."""
        rows = self._rows("SELECT name, role, joined_at, active FROM people ORDER BY folded")
        return [
            dict(zip(("name", "role", "joined_at", "active"), row, strict=True)) for row in rows
        ]

    # Ways in

    def one_time_token(self) -> str:
        """Make a token that lets whoever started the server make the first admin, once."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._once = {_digest(token)}
        return token

    def start(self, token: str, name: str, password: str) -> str:
        """Make an admin, or give one a new password, by the one-time token; begin a session."""
        self._check_once(token)
        person = self._checked_name(name, may_exist=True)
        coded = coded_password(password)
        with self._writing():
            self._check_once(token)
            self._once.clear()
            self._database.execute("DELETE FROM sessions WHERE name = ?", (person,))
            self._forget(person)
            self._put(person, "admin", coded)
            self._note(person, "start", person)
            return self._begin(person)

    def _check_once(self, token: str) -> None:
        if _digest(token) not in self._once:
            raise RefusedError(
                403, "used_token", "This link was used already, or is of an earlier start."
            )

    def invite(self, by: str, role: str, name: str = "") -> str:
        """Make an invitation for one person; returns its token.

        Args:
            by: Who invites.
            role: What the new person may do.
            name: Somebody who is there already and gets a new password; empty: somebody new.
        """
        if role not in ROLES[1:]:
            raise RefusedError(422, "wrong_input", f"A role is one of {', '.join(ROLES[1:])}.")
        if name and name not in self._roles:
            raise RefusedError(404, "not_found", "There is nobody of that name.")
        token = secrets.token_urlsafe(32)
        ends_at = time.time() + INVITATION_S
        with self._writing():
            self._database.execute(
                "INSERT INTO invitations VALUES (?, ?, ?, ?, ?, NULL)",
                (_digest(token), role, name, by, ends_at),
            )
            self._note(by, "invite", f"{role} {name}".strip())
        return token

    def join(self, token: str, name: str, password: str) -> str:
        """Take an invitation: choose a name and a password; begin a session."""
        role, asked = self._invitation(token)
        person = asked or self._checked_name(name, may_exist=False)
        coded = coded_password(password)
        with self._writing():
            self._invitation(token)
            self._database.execute(
                "UPDATE invitations SET used_by = ? WHERE digest = ?", (person, _digest(token))
            )
            if asked:
                self._database.execute("DELETE FROM sessions WHERE name = ?", (person,))
                self._forget(person)
            self._put(person, role, coded)
            self._note(person, "join", role)
            return self._begin(person)

    def _invitation(self, token: str) -> tuple[str, str]:
        found = self._rows(
            "SELECT role, name FROM invitations"
            " WHERE digest = ? AND used_by IS NULL AND ends_at > ?",
            _digest(token),
            time.time(),
        )
        if not found:
            raise RefusedError(
                403, "used_token", "This invitation was used already, or is too old."
            )
        return found[0]

    def sign_in(self, name: str, password: str) -> str:
        """Begin a session; nothing tells a wrong name from a wrong password."""
        folded = _folded(name)
        found = self._rows("SELECT name, password FROM people WHERE folded = ? AND active", folded)
        person, coded = found[0] if found else ("", NOBODY)
        if not is_password(password, coded) or not person:
            raise RefusedError(401, "wrong_password", "Name or password is wrong.")
        with self._writing():
            self._note(person, "sign in", "")
            return self._begin(person)

    # Sessions

    def caller(self, token: str) -> Caller | None:
        """Tell whose session a token is; None when it has ended."""
        digest, now = _digest(token), time.time()
        session = self._sessions.get(digest)
        if session is None:
            return None
        role = self._roles.get(session.name)
        if role is None or now > min(session.begun_at + SESSION_S, session.seen_at + IDLE_S):
            self.sign_out(token)
            return None
        if now - session.seen_at > _SEEN_EVERY_S:
            session.seen_at = now
            with self._writing():
                self._database.execute(
                    "UPDATE sessions SET seen_at = ? WHERE digest = ?", (now, digest)
                )
        return Caller(session.name, role, session.csrf)

    def sign_out(self, token: str) -> None:
        """End a session."""
        digest = _digest(token)
        with self._writing():
            self._sessions.pop(digest, None)
            self._database.execute("DELETE FROM sessions WHERE digest = ?", (digest,))

    def change(self, by: str, name: str, *, role: str | None, active: bool) -> None:
        """Give somebody another role, or shut them out; the last admin stays."""
        if role is not None and role not in ROLES[1:]:
            raise RefusedError(422, "wrong_input", f"A role is one of {', '.join(ROLES[1:])}.")
        with self._writing():
            found = self._rows("SELECT role FROM people WHERE name = ?", name)
            if not found:
                raise RefusedError(404, "not_found", "There is nobody of that name.")
            wanted = role or found[0][0]
            if self.names("admin") == [name] and (wanted != "admin" or not active):
                raise RefusedError(409, "last_admin", "This is the last admin.")
            self._database.execute(
                "UPDATE people SET role = ?, active = ? WHERE name = ?", (wanted, active, name)
            )
            self._roles.pop(name, None)
            if active:
                self._roles[name] = wanted
            else:
                self._database.execute("DELETE FROM sessions WHERE name = ?", (name,))
                self._forget(name)
            self._note(by, "change", f"{name} {wanted} {'active' if active else 'out'}")

    def choice(self, key: str, otherwise: str) -> str:
        """Read what was chosen for all people."""
        found = self._rows("SELECT value FROM choices WHERE key = ?", key)
        return str(found[0][0]) if found else otherwise

    def choose(self, by: str, key: str, value: str) -> None:
        """Choose something for all people."""
        with self._writing():
            self._database.execute(
                "INSERT INTO choices VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET"
                " value = excluded.value",
                (key, value),
            )
            self._note(by, "choose", f"{key} {value}")

    def note(self, who: str, what: str, about: str) -> None:
        """Add a line to the audit log, which nobody can change afterwards."""
        with self._writing():
            self._note(who, what, about)

    def audit(self, lines: int = 200) -> list[dict[str, Any]]:
        """Read the last lines of the audit log, newest first."""
        rows = self._rows("SELECT at, who, what, about FROM audit ORDER BY id DESC LIMIT ?", lines)
        return [dict(zip(("at", "who", "what", "about"), row, strict=True)) for row in rows]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Write all or nothing, durable when the block ends."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _begin(self, name: str) -> str:
        token = secrets.token_urlsafe(32)
        now = time.time()
        session = _Session(name, _csrf(token), now, now)
        self._database.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)",
            (_digest(token), name, session.csrf, now, now),
        )
        self._sessions[_digest(token)] = session
        return token

    def _forget(self, name: str) -> None:
        self._sessions = {d: s for d, s in self._sessions.items() if s.name != name}

    def _put(self, name: str, role: str, coded: str) -> None:
        self._database.execute(
            "INSERT INTO people VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (name) DO UPDATE SET"
            " role = excluded.role, password = excluded.password, active = 1",
            (name, _folded(name), role, coded, time.time()),
        )
        self._roles[name] = role

    def _note(self, who: str, what: str, about: str) -> None:
        self._database.execute(
            "INSERT INTO audit (at, who, what, about) VALUES (?, ?, ?, ?)",
            (time.time(), who, what, about[:500]),
        )

    def _checked_name(self, name: str, *, may_exist: bool) -> str:
        name = unicodedata.normalize("NFC", " ".join(name.split()))
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
            raise RefusedError(422, "wrong_name", f"A name has 1 to {_LONGEST_NAME} letters.")
        known = self._rows("SELECT name FROM people WHERE folded = ?", _folded(name))
        if not known:
            return name
        if may_exist:
            return str(known[0][0])
        raise RefusedError(409, "taken_name", "Somebody has that name already.")

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _csrf(token: str) -> str:
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()[:32]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
