"""How a worker is told what to do: one table of settings, read from flags, `PGJOBQ_*` variables and defaults.

`SETTINGS` is the only list: the flag, the variable, the help text, the parsing and the checking of a setting
all come from its one entry, so that none of them can disagree. A flag wins over its variable, a variable over
the default. Pure: nothing here touches a database, and the environment is passed in.

    kinds        what a value may be; durations as people write them
    schema_name  which schema names can be used, and how one is put into SQL
    table        SETTINGS, the list
    worker       WorkerSettings, the frozen result
    arguments    the worker's command line, made from the list; not imported here, for worker processes read none
"""

from __future__ import annotations

from pgjobq.settings.kinds import parse_duration, parse_size, show_duration, show_size
from pgjobq.settings.schema_name import check_schema_name, put_schema_name
from pgjobq.settings.table import SETTINGS, Setting
from pgjobq.settings.worker import WorkerSettings

__all__ = [
    "SETTINGS",
    "Setting",
    "WorkerSettings",
    "check_schema_name",
    "parse_duration",
    "parse_size",
    "put_schema_name",
    "show_duration",
    "show_size",
]
