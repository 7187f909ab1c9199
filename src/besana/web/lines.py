"""What a server logs: one line of JSON each."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from functools import lru_cache
from typing import Any

from typing_extensions import override


class Lines:
    """Gathers finished lines of JSON and logs them together once the event loop turns.

    Requests that are judged together end together, and one call of the logger costs as much as
    all the rest that is done for a line.

    Args:
        logger: Where they go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._waiting = logger, list[str]()

    def add(self, words: str) -> None:
        """Log an object soon; called in an event loop.

        Args:
            words: What stands in the object, after its time and level.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._log)
        self._waiting.append(f'{{"at": "{_written(int(time.time()))}", "level": "info", {words}}}')

    def _log(self) -> None:
        lines, self._waiting = self._waiting, []
        self._logger.info(_Whole("\n".join(lines)))


class _Whole(str):
    """Lines that nobody has to write anew."""

    __slots__ = ()


class JsonLines(logging.Formatter):
    """Write each log record as one line of JSON, whatever characters it holds."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, _Whole):
            return record.msg
        at, level = _written(int(record.created)), record.levelname.lower()
        line: dict[str, Any] = {"at": at, "level": level}
        said = record.getMessage()
        try:
            line |= json.loads(said)
        except (ValueError, TypeError):
            line["message"] = said
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


@lru_cache(maxsize=1)
def _written(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
