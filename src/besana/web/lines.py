"""What a server logs: one line of JSON each."""

from __future__ import annotations

import json
import logging
import time
from functools import lru_cache
from typing import Any

from typing_extensions import override


class Line(str):
    """A message that is an object in JSON already, so that nobody has to read it again."""

    __slots__ = ()


class JsonLines(logging.Formatter):
    """Write each log record as one line of JSON, whatever characters it holds."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        at, level = _written(int(record.created)), record.levelname.lower()
        if isinstance(record.msg, Line):
            return f'{{"at": "{at}", "level": "{level}", {record.msg[1:]}'
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
