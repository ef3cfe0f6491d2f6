"""Formatters for `logging`: readable lines, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from pgjobq.events import Event, WorkerStarted
from pgjobq.logs.banner import banner
from pgjobq.logs.sentences import one_line, read

__all__ = ["JsonFormatter", "TextFormatter", "formatter_for"]

# What an output that knows only ASCII gets instead.
_ASCII = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "↻": "~",
        "…": "...",
        "·": "-",
        "▸": ">",
        "⊘": "/",
        "‖": "=",
        "←": "<",
        "●": "*",
        "■": "#",
        "×": "x",
        "─": "-",
    }
)
JOB_FIELDS = ("job", "task", "queue", "attempt", "ref")
"""What a record may know of the job inside whose handler it was made (pgjobq.current.note_job)."""
_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_COLOURS = {
    logging.DEBUG: _DIM,
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}


def formatter_for(style: str, stream: TextIO, environ: Mapping[str, str] | None = None) -> logging.Formatter:
    """The formatter for `text` or `json`: colour, date and signs as the stream can take them."""
    if style == "json":
        return JsonFormatter()
    environ = os.environ if environ is None else environ
    terminal = _is_terminal(stream)
    colour = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return TextFormatter(colour=colour, date=not terminal, ascii_only=not _can_write_signs(stream))


class TextFormatter(logging.Formatter):
    """`21:04:05.123 INFO  ✓ send_confirmation #42 order:7 in 12 ms (attempt 1)`; a banner for the start."""

    def __init__(self, *, colour: bool = False, date: bool = False, ascii_only: bool = False) -> None:
        super().__init__()
        self._colour = colour
        self._clock = "%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S"
        self._ascii_only = ascii_only

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, without the final line break."""
        text = self._text(record)
        if self._ascii_only:
            text = text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
        return text

    def _text(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        if isinstance(event, WorkerStarted):
            return self._banner(event)
        moment = datetime.fromtimestamp(record.created).astimezone()
        clock = f"{moment:{self._clock}}.{moment.microsecond // 1000:03d}"
        level = f"{_short(record.levelname):<5}"
        line = f"{self._painted(clock, _DIM)} {self._painted(level, _COLOURS.get(record.levelno, ''))} "
        if isinstance(event, Event):
            mark = self._painted(read(type(event)).mark, _COLOURS.get(record.levelno, ""))
            return line + f"{mark} {record.getMessage()}" + self._detail(record, event)
        # Somebody else's record, from the application's own loggers.
        text = one_line(record.getMessage(), 10_000)
        return line + f"{record.name}: {text}{_of_job(record)}" + self._exception(record)

    def _banner(self, event: WorkerStarted) -> str:
        first, title, rule, *rows = banner(event).split("\n")
        return "\n".join([first, self._painted(title, _BOLD), self._painted(rule, _DIM), *rows])

    def _detail(self, record: logging.LogRecord, event: Event) -> str:
        detail = getattr(event, "traceback", "") if record.levelno >= logging.ERROR else ""
        return _indented(detail)

    def _exception(self, record: logging.LogRecord) -> str:
        return _indented(self.formatException(record.exc_info)) if record.exc_info else ""

    def _painted(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour and colour else text


class JsonFormatter(logging.Formatter):
    """One object a line: event, time (UTC), level and message first, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, in ASCII whatever the stream's encoding."""
        event = getattr(record, "event", None)
        line: dict[str, object] = {
            "event": event.name() if isinstance(event, Event) else "log",
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if isinstance(event, Event):
            line |= {name: getattr(event, name) for name in event.__struct_fields__}
        else:
            line["logger"] = record.name
            line |= {name: getattr(record, name) for name in JOB_FIELDS if hasattr(record, name)}
            if record.exc_info:
                line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _of_job(record: logging.LogRecord) -> str:
    """` [send #42 order:7, attempt 1]`, for a record that was made inside a handler."""
    job, task, attempt = (getattr(record, name, None) for name in ("job", "task", "attempt"))
    if job is None or task is None:
        return ""
    ref = getattr(record, "ref", None)
    return f" [{one_line(str(task), 80)} #{job}{f' {one_line(str(ref), 80)}' if ref else ''}, attempt {attempt}]"


def _short(level: str) -> str:
    return {"WARNING": "WARN", "CRITICAL": "FATAL"}.get(level, level)


def _indented(text: str) -> str:
    if not text:
        return ""
    lines = "\n".join(one_line(line, 2_000) for line in text.rstrip().splitlines())
    return "\n" + textwrap.indent(lines, "    ")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def _can_write_signs(stream: TextIO) -> bool:
    try:
        "✓✗↻…·▸⊘‖←●■×─".encode(getattr(stream, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
