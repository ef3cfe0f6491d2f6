"""WorkerSettings: what a worker is told, resolved from flags, `PGJOBQ_*` variables and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pgjobq.errors import ConfigError
from pgjobq.settings.kinds import show_duration
from pgjobq.settings.table import SETTINGS, Setting

__all__ = ["WorkerSettings", "default_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told; every field is checked when the object is made (ConfigError).

    Attributes:
        queues: names of the queues to take jobs from; empty: all of them.
        concurrency: jobs run at once in each process, 1..10,000.
        processes: worker processes, 1..256.
        max_memory: bytes of resident memory, 16 MiB..1 PiB, beyond which a worker process is replaced; None: no limit.
        max_jobs_per_process: jobs after which a worker process is replaced, 1 and up; None: no limit.
        poll_interval: longest wait of an idle worker, seconds, 0.01..3,600.
        lease: silence after which a worker is taken for dead, seconds, 1..3,600.
        heartbeat: how often the lease is renewed, seconds, 0.05..1,800 and below half the lease: one renewal
            that is lost or late must not cost the lease.
        grace: how long running jobs may go on after a signal, seconds, 0..86,400.
        drain: end when nothing is left to run.
        max_jobs: with drain, end after this many jobs; None: no limit.
        max_seconds: with drain, start no job after this many seconds, 0.1..2,592,000; None: no limit.
        poll_only: never LISTEN.
        keep_succeeded: how long succeeded and cancelled jobs are kept, **days**, 0..36,500; None: for ever.
        keep_failed: how long failed jobs are kept, **days**, 0..36,500; None: for ever.
        log_format: `text` or `json`.
        log_level: `debug`, `info`, `warning` or `error`.
        metrics_port: where Prometheus is answered, 0..65,535; 0: any free port; None: nowhere.
        metrics_host: at which address.
    """

    queues: tuple[str, ...] = ()
    concurrency: int = 10
    processes: int = 1
    max_memory: int | None = None
    max_jobs_per_process: int | None = None
    poll_interval: float = 1.0
    lease: float = 30.0
    heartbeat: float = 5.0
    grace: float = 30.0
    drain: bool = False
    max_jobs: int | None = None
    max_seconds: float | None = None
    poll_only: bool = False
    keep_succeeded: float | None = 7.0
    keep_failed: float | None = 30.0
    log_format: str = "text"
    log_level: str = "info"
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            try:
                setting.kind.check(value)
            except ValueError as error:
                raise setting.refusal(value, setting.name, error) from None
        _check_together(self, lambda setting: setting.name)

    @property
    def most_jobs(self) -> int | None:
        """How many jobs one process may take, by whichever limit is reached first; None: no limit."""
        limits = [limit for limit in (self.max_jobs, self.max_jobs_per_process) if limit is not None]
        return min(limits, default=None)

    @classmethod
    def resolve(cls, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> WorkerSettings:
        """Settings from flags (field name -> text, None: not given), then `PGJOBQ_*`, then the defaults.

        An empty variable counts as not set, as everywhere in containers; an empty flag is an error.
        Raises ConfigError naming the flag or variable, its value, the range and an example.
        """
        chosen = [(setting, *_chosen(setting, flags, environ)) for setting in SETTINGS]
        sources = {setting.name: source for setting, source, _ in chosen}
        values: dict[str, Any] = {
            setting.name: default_of(setting) if text is None else setting.read(text, source)
            for setting, source, text in chosen
        }
        _check_together(_Loose(values), lambda setting: sources[setting.name])
        return cls(**values)


_DEFAULTS = {field.name: field.default for field in fields(WorkerSettings)}


def default_of(setting: Setting) -> object:
    """The setting's value when nobody says anything."""
    return _DEFAULTS[setting.name]


def _chosen(setting: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Where the setting's value comes from (flag, variable or `the default`), and its text."""
    text = flags.get(setting.name)
    if text is not None:
        return setting.flag, text
    text = environ.get(setting.variable)
    if text is not None and text.strip():
        return setting.variable, text
    return "the default", None


class _Loose:
    """Values not yet made into a WorkerSettings, read as attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


def _check_together(values: Any, source: Callable[[Setting], str]) -> None:
    """The rules between settings; `source` names where each one came from, for the error."""
    by_name = {setting.name: setting for setting in SETTINGS}
    lease, heartbeat = by_name["lease"], by_name["heartbeat"]
    if values.heartbeat >= values.lease / 2:
        often, long = show_duration(values.heartbeat), show_duration(values.lease)
        raise ConfigError(
            f"the heartbeat of {often} (from {source(heartbeat)}) must be below half the lease of {long} "
            f"(from {source(lease)}), so that one lost renewal does not cost the lease; use for example "
            f"{heartbeat.flag} {show_duration(round(values.lease / 6, 2))}"
        )
    for name in ("max_jobs", "max_seconds"):
        if getattr(values, name) is not None and not values.drain:
            where = source(by_name[name])
            raise ConfigError(
                f"{where}: {by_name[name].kind.show(getattr(values, name))} has no meaning without --drain: "
                f"a worker that waits for more jobs has no last one; add --drain or leave {where} out"
            )
