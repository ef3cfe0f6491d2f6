"""The one list of settings: flag, variable, kind, help and example of each."""

from __future__ import annotations

from dataclasses import dataclass

from pgjobq.errors import ConfigError
from pgjobq.settings.kinds import DAY, Choice, Duration, Host, Kind, Names, Port, Size, Switch, Whole
from pgjobq.wording import quote

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry of the table: `name` is the field of WorkerSettings; flag and variable follow from it."""

    name: str
    group: str
    kind: Kind
    help: str
    example: str
    metavar: str = ""

    @property
    def flag(self) -> str:
        """`--poll-interval`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`PGJOBQ_POLL_INTERVAL`."""
        return "PGJOBQ_" + self.name.upper()

    def sample(self, source: str) -> str:
        """How to give the example where the value came from: as a flag, a variable or a keyword argument."""
        if source == self.variable:
            return f"{self.variable}={self.example}"
        if source == self.flag:
            return self.flag if isinstance(self.kind, Switch) else f"{self.flag} {self.example}"
        return f"{self.name}={self.kind.parse(self.example)!r}"

    def read(self, text: str, source: str) -> object:
        """Parse and check a text; raises ConfigError naming `source`, the value, the range and an example."""
        try:
            value = self.kind.parse(text)
            self.kind.check(value)
        except ValueError as error:
            raise self.refusal(text, source, error) from None
        return value

    def refusal(self, value: object, source: str, reason: object) -> ConfigError:
        """The error for a value that cannot be taken."""
        takes = f"it takes {self.kind.range}, for example {self.sample(source)}"
        return ConfigError(f"{source}: {quote(value)} {reason}; {takes}")


RUN, TIMING, DRAIN, KEEPING, LOGS, METRICS = (
    "what to run, and how much", "timing", "drain", "retention", "logs", "metrics"
)  # fmt: skip

SETTINGS: tuple[Setting, ...] = (
    Setting("queues", RUN, Names(), "queues to take jobs from", "mail,default", "NAME,NAME"),
    Setting("concurrency", RUN, Whole(1, 10_000), "jobs run at once in each process", "10", "N"),
    Setting("processes", RUN, Whole(1, 256), "worker processes under one supervisor", "2", "N"),
    Setting(
        "max_memory",
        RUN,
        Size(16 * 2**20, 2**50),
        "replace a process that uses more memory once its jobs have ended, kill it at twice as much",
        "512MB",
        "SIZE",
    ),
    Setting(
        "max_jobs_per_process",
        RUN,
        Whole(1, 10**12, optional=True),
        "replace a process that has taken this many jobs",
        "10000",
        "N",
    ),
    Setting(
        "poll_interval",
        TIMING,
        Duration(0.01, 3600),
        "longest wait before an idle worker looks for jobs again; notifications wake it earlier",
        "1s",
        "TIME",
    ),
    Setting(
        "lease",
        TIMING,
        Duration(1, 3600),
        "a worker silent for this long is taken for dead and its jobs are run again elsewhere",
        "30s",
        "TIME",
    ),
    Setting(
        "heartbeat",
        TIMING,
        Duration(0.05, 1800),
        "how often the worker renews its lease; below half the lease",
        "5s",
        "TIME",
    ),
    Setting(
        "grace",
        TIMING,
        Duration(0, DAY),
        "how long running jobs may go on after SIGTERM or SIGINT",
        "30s",
        "TIME",
    ),
    Setting(
        "poll_only",
        TIMING,
        Switch(),
        "never LISTEN; for PgBouncer in transaction mode",
        "true",
    ),
    Setting("drain", DRAIN, Switch(), "run what is ready, then end instead of waiting for more", "true"),
    Setting(
        "max_jobs",
        DRAIN,
        Whole(1, 10**12, optional=True),
        "with --drain: end after this many jobs",
        "1000",
        "N",
    ),
    Setting(
        "max_seconds",
        DRAIN,
        Duration(0.1, 30 * DAY, optional=True),
        "with --drain: start no job after this long",
        "50s",
        "TIME",
    ),
    Setting(
        "keep_succeeded",
        KEEPING,
        Duration(0, 36_500, unit=DAY, forever=True),
        "keep succeeded and cancelled jobs this long; a bare number is in days; or forever",
        "7d",
        "TIME",
    ),
    Setting(
        "keep_failed",
        KEEPING,
        Duration(0, 36_500, unit=DAY, forever=True),
        "keep failed jobs this long; a bare number is in days; or forever",
        "30d",
        "TIME",
    ),
    Setting(
        "log_format",
        LOGS,
        Choice(("text", "json")),
        "text for people, or json: one object a line",
        "json",
        "FORMAT",
    ),
    Setting(
        "log_level",
        LOGS,
        Choice(("debug", "info", "warning", "error")),
        "leave out what matters less: debug, info, warning or error",
        "info",
        "LEVEL",
    ),
    Setting(
        "metrics_port",
        METRICS,
        Port(),
        "answer Prometheus at this port, /metrics; 0: any free one, named in the log",
        "9464",
        "PORT",
    ),
    Setting(
        "metrics_host",
        METRICS,
        Host(),
        "the address to answer at; 0.0.0.0: all of this machine's",
        "0.0.0.0",  # noqa: S104
        "HOST",
    ),
)
