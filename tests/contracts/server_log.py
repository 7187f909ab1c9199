"""What the S3 server of the tests logged, counted as a bill counts it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from besana.traffic import Traffic

_LINE = re.compile(r'"(?:\x1b\[\S*?m)*([A-Z]+) (\S+) HTTP')


class ServerLog(logging.Handler):
    """Keeps the requests of the log as `(method, address)`."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.requests: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = _LINE.search(record.getMessage())
        if found:
            self.requests.append((found[1], found[2]))

    @property
    def traffic(self) -> Traffic:
        """The requests by their class; the log says nothing about bytes."""
        classes = [_class(method, address) for method, address in self.requests]
        names = ("gets", "puts", "lists", "deletes")
        return Traffic(**{name: classes.count(name) for name in names})


@contextmanager
def server_log() -> Iterator[ServerLog]:
    """Listen to the server's log inside the block."""
    log, logger = ServerLog(), logging.getLogger("werkzeug")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


def _class(method: str, address: str) -> str:
    if method == "GET" and ("list-type=" in address or "?prefix=" in address):
        return "lists"
    if method == "DELETE" or (method == "POST" and address.endswith("?delete")):
        return "deletes"
    return {"GET": "gets", "HEAD": "gets", "PUT": "puts", "POST": "puts"}[method]
