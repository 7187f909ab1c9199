"""What a server logs: one line of JSON each."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from typing_extensions import override


class Line(str):
    """A message that is an object in JSON already, so that nobody has to read it again."""

    __slots__ = ()


class JsonLines(logging.Formatter):
    """Write each log record as one line of JSON, whatever characters it holds."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
        }
        if isinstance(record.msg, Line):
            return f"{json.dumps(line)[:-1]}, {record.msg[1:]}"
        said = record.getMessage()
        try:
            line |= json.loads(said)
        except (ValueError, TypeError):
            line["message"] = said
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)
