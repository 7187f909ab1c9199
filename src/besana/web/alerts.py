"""Tell people: a message to a webhook or by e-mail, and figures for Prometheus."""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Literal

from besana.errors import ConfigError, StorageError

PASSWORD_VARIABLE = "BESANA_SMTP_PASSWORD"  # the name of a variable, not a password
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Mail:
    """Where e-mails go.

    Attributes:
        server: `host` or `host:port`; 587 is the usual port.
        sender: Address that they come from.
        to: Addresses.
        user: Name to log in with; empty for none. Its password is in `BESANA_SMTP_PASSWORD`.
        security: `starttls`, `tls` from the start, or `none` within one's own network.
    """

    server: str
    sender: str
    to: Sequence[str]
    user: str
    security: Literal["starttls", "tls", "none"]


def post(url: str, message: Mapping[str, Any]) -> None:
    """Send a message as JSON to a webhook.

    `text` of the message is what Slack, Mattermost and Teams show; programs read the rest.

    Args:
        url: `https://...`, or `http://...` within one's own network.
        message: JSON values.

    Raises:
        ConfigError: If it is another kind of address.
        StorageError: If nobody took it.
    """
    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"'{url}' is not a webhook.", "Write https://...")
    body = json.dumps(message).encode()
    request = urllib.request.Request(  # the scheme is checked above
        url, body, {"Content-Type": "application/json", "User-Agent": "besana"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # as above
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise StorageError(
            f"The webhook did not take the message: {error}.", "Check webhook in [monitor]."
        ) from None


def send_mail(mail: Mail, subject: str, text: str) -> None:
    """Send an e-mail as plain text.

    Raises:
        ConfigError: If the server's port is not a number.
        StorageError: If the server did not take it.
    """
    message = EmailMessage()
    message["Subject"] = " ".join(subject.split())
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    message.set_content(text)
    host, _, port = mail.server.partition(":")
    if port and not port.isdecimal():
        raise ConfigError(f"'{mail.server}' is not a mail server.", "Write host or host:port.")
    try:
        with _connection(host, int(port or 587), mail.security) as server:
            if mail.user:
                server.login(mail.user, os.environ.get(PASSWORD_VARIABLE, ""))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        raise StorageError(
            f"The mail server {host} did not take the message: {error}.",
            f"Check smtp_server in [monitor] and {PASSWORD_VARIABLE}.",
        ) from None


def _connection(host: str, port: int, security: str) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=context)
    server = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
    if security == "starttls":
        server.starttls(context=context)
    return server


@dataclass(frozen=True)
class Gauge:
    """One figure with what it is of.

    Attributes:
        name: As `besana_drift`.
        help: What it says, in a sentence.
        values: Labels and value of each.
    """

    name: str
    help: str
    values: Sequence[tuple[Mapping[str, str], float]]


def prometheus_text(gauges: Iterable[Gauge]) -> str:
    r"""Write figures as node_exporter's textfile collector reads them.

    >>> print(prometheus_text([Gauge("a", "An a.", [({"of": 'x"y'}, 1.5)])]), end="")
    # HELP a An a.
    # TYPE a gauge
    a{of="x\"y"} 1.5
    """
    lines = []
    for gauge in gauges:
        lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge"]
        for labels, value in gauge.values:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{gauge.name}{{{inside}}} {value:.12g}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
