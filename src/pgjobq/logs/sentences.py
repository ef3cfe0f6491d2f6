"""How each event reads: its level, its mark and its sentence. The only place where log texts are written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pgjobq import events as e

__all__ = ["Reading", "one_line", "read", "span"]

LONGEST = 300
E = TypeVar("E", bound=e.Event)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a kind of event reads: level (of `logging`), a mark of one character, and its sentence."""

    level: int
    mark: str
    say: Callable[[Any], str]


_READINGS: dict[type[e.Event], Reading] = {}
_PLAIN = Reading(logging.INFO, "·", lambda event: event.name().replace("_", " "))


def read(kind: type[e.Event]) -> Reading:
    """How events of this kind read."""
    return _READINGS.get(kind, _PLAIN)


def _reads(kind: type[E], level: int, mark: str) -> Callable[[Callable[[E], str]], Callable[[E], str]]:
    def keep(say: Callable[[E], str]) -> Callable[[E], str]:
        _READINGS[kind] = Reading(level, mark, say)
        return say

    return keep


# --- pieces ----------------------------------------------------------------------------------------------


def span(seconds: float) -> str:
    """A duration for people: `0.4 ms`, `12 ms`, `1.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 0.001:
        return f"{max(seconds, 0) * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def one_line(text: str, longest: int = LONGEST) -> str:
    """Text from outside made safe for one line: no line break, no control character, not too long.

    A ref or an error message may hold anything; it must not be able to forge a line of the log or to steer
    the terminal.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _numbers(jobs: tuple[int, ...]) -> str:
    return ", ".join(f"#{job}" for job in jobs[:10]) + (", …" if len(jobs) > 10 else "")


def _subject(event: e.JobEvent) -> str:
    ref = f" {one_line(event.ref, 80)}" if event.ref else ""
    return f"{one_line(event.task, 80)} #{event.job}{ref}"


def _attempt(event: e.JobEvent) -> str:
    return f"attempt {event.attempt} of {event.max_attempts}"


def _why(error: str, message: str) -> str:
    return f"{error}: {one_line(message)}" if message else error


def _tally(event: e.WorkerStopped | e.DrainEnded) -> str:
    deaths = f", {_count(event.deaths, 'process death')}" if event.deaths else ""
    return f"{event.succeeded:,} succeeded, {event.retried:,} retried, {event.failed:,} failed{deaths}"


# --- jobs ------------------------------------------------------------------------------------------------


@_reads(e.JobStarted, logging.DEBUG, "▸")
def _job_started(event: e.JobStarted) -> str:
    waited = "" if event.waited is None else f" after waiting {span(event.waited)}"
    return f"{_subject(event)} begins{waited} ({_attempt(event)})"


@_reads(e.JobSucceeded, logging.INFO, "✓")
def _job_succeeded(event: e.JobSucceeded) -> str:
    return f"{_subject(event)} in {span(event.ran)} (attempt {event.attempt})"


@_reads(e.MoreSucceeded, logging.INFO, "…")
def _more_succeeded(event: e.MoreSucceeded) -> str:
    when = "second" if event.seconds < 1.5 else span(event.seconds)
    return f"and {event.jobs:,} more succeeded in the last {when}"


@_reads(e.JobRetried, logging.WARNING, "↻")
def _job_retried(event: e.JobRetried) -> str:
    return (
        f"{_subject(event)} failed after {span(event.ran)} ({_attempt(event)}), "
        f"again in {span(event.delay)}: {_why(event.error, event.error_message)}"
    )


@_reads(e.JobFailed, logging.ERROR, "✗")
def _job_failed(event: e.JobFailed) -> str:
    return (
        f"{_subject(event)} failed for good after {span(event.ran)} ({_attempt(event)}): "
        f"{_why(event.error, event.error_message)}"
    )


@_reads(e.JobSnoozed, logging.INFO, "z")
def _job_snoozed(event: e.JobSnoozed) -> str:
    return f"{_subject(event)} snoozed after {span(event.ran)}, again in {span(event.delay)}"


@_reads(e.JobDiscarded, logging.WARNING, "⊘")
def _job_discarded(event: e.JobDiscarded) -> str:
    return f"{_subject(event)} discarded after {span(event.ran)}: {one_line(event.reason)}"


@_reads(e.JobWaits, logging.INFO, "z")
def _job_waits(event: e.JobWaits) -> str:
    return f"{_subject(event)} waits for the event {one_line(event.waits_for, 80)}"


@_reads(e.JobParked, logging.WARNING, "‖")
def _job_parked(event: e.JobParked) -> str:
    return f"{_subject(event)} waits for a worker that can run it ({one_line(event.waits_for, 80)})"


@_reads(e.LeaseLost, logging.WARNING, "!")
def _lease_lost(event: e.LeaseLost) -> str:
    return (
        f"{_subject(event)} had been given to another worker: what attempt {event.attempt} reported "
        f"({event.outcome}) does not count"
    )


@_reads(e.JobsReturned, logging.INFO, "←")
def _jobs_returned(event: e.JobsReturned) -> str:
    return f"gave back {_count(event.jobs, 'job')} not begun"


# --- the worker's life -----------------------------------------------------------------------------------


@_reads(e.WorkerStarted, logging.INFO, "●")
def _worker_started(event: e.WorkerStarted) -> str:
    queues = ", ".join(event.queues) or "all queues"
    processes = f" × {event.processes} processes" if event.processes > 1 else ""
    return (
        f"worker of {event.app} started (pid {event.pid}) on {event.database}: {one_line(queues)}, "
        f"{event.concurrency} at once{processes}"
    )


@_reads(e.WorkerStopped, logging.INFO, "■")
def _worker_stopped(event: e.WorkerStopped) -> str:
    returned = f", {event.returned:,} given back" if event.returned else ""
    return f"worker stopped after {span(event.seconds)}: {_tally(event)}{returned}"


@_reads(e.WorkerCrashed, logging.CRITICAL, "✗")
def _worker_crashed(event: e.WorkerCrashed) -> str:
    return f"worker crashed: {_why(event.error, event.error_message)}"


@_reads(e.ProcessStarted, logging.INFO, "·")
def _process_started(event: e.ProcessStarted) -> str:
    return f"process {event.number} {'started again' if event.restart else 'started'} (pid {event.pid})"


@_reads(e.ProcessDied, logging.ERROR, "✗")
def _process_died(event: e.ProcessDied) -> str:
    how = f"was killed by {event.signal}" if event.signal else f"exited with code {event.exit_code}"
    running = (
        f" while it ran {_count(len(event.jobs), 'job')} ({_numbers(event.jobs)})" if event.jobs else " while idle"
    )
    why = f": {one_line(event.reason)}" if event.reason else ""
    return f"process {event.number} (pid {event.pid}) {how}{running}{why}"


@_reads(e.ProcessRetired, logging.INFO, "·")
def _process_retired(event: e.ProcessRetired) -> str:
    return (
        f"process {event.number} (pid {event.pid}) takes no more jobs and is replaced, since {one_line(event.reason)}"
    )


@_reads(e.JobsOverdue, logging.ERROR, "!")
def _jobs_overdue(event: e.JobsOverdue) -> str:
    return (
        f"process {event.number} (pid {event.pid}): {_numbers(event.jobs)} did not end after the time-out; it was sent "
        f"SIGTERM, and is killed in {span(event.kill_in)} if that does not help"
    )


@_reads(e.ShutdownBegan, logging.INFO, "■")
def _shutdown_began(event: e.ShutdownBegan) -> str:
    if not event.running:
        return f"{event.reason}: stopping; nothing is running"
    return (
        f"{event.reason}: stopping; {_count(event.running, 'running job')} may finish within "
        f"{span(event.grace)} (the same signal again hurries)"
    )


@_reads(e.ShutdownHurried, logging.WARNING, "■")
def _shutdown_hurried(event: e.ShutdownHurried) -> str:
    return f"{event.reason}: cancelling {_count(event.running, 'running job')}; they are run again later"


@_reads(e.DrainEnded, logging.INFO, "■")
def _drain_ended(event: e.DrainEnded) -> str:
    return f"drained in {span(event.seconds)} ({event.reason}): {_tally(event)}"


@_reads(e.MetricsServed, logging.INFO, "·")
def _metrics_served(event: e.MetricsServed) -> str:
    return f"metrics at {event.url}"


@_reads(e.ProcessEnding, logging.DEBUG, "·")
def _process_ending(_: e.ProcessEnding) -> str:
    return "this process has settled all it had, and ends"


@_reads(e.ListenerFailed, logging.ERROR, "!")
def _listener_failed(event: e.ListenerFailed) -> str:
    return (
        f"listener {one_line(event.listener, 80)} failed when it was told of {event.about}: "
        f"{_why(event.error, event.error_message)}"
    )


@_reads(e.EventsDropped, logging.WARNING, "!")
def _events_dropped(event: e.EventsDropped) -> str:
    return f"listeners are too slow: {_count(event.events, 'event')} not told to them"


# --- the database, and upkeep ----------------------------------------------------------------------------


@_reads(e.ConnectionLost, logging.WARNING, "!")
def _connection_lost(event: e.ConnectionLost) -> str:
    return f"connection for {event.purpose} lost, connecting again: {_why(event.error, event.error_message)}"


@_reads(e.ConnectionBack, logging.INFO, "✓")
def _connection_back(event: e.ConnectionBack) -> str:
    return f"connection for {event.purpose} is back after {span(event.seconds)}"


@_reads(e.Polling, logging.INFO, "·")
def _polling(event: e.Polling) -> str:
    return f"no notifications ({one_line(event.reason)}): looking for jobs every {span(event.poll_interval)}"


@_reads(e.JobsTakenBack, logging.WARNING, "!")
def _jobs_taken_back(event: e.JobsTakenBack) -> str:
    failed = f"; {_count(event.failed, 'job')} had no attempt left and failed" if event.failed else ""
    return (
        f"took back the jobs of worker {event.worker} ({event.reason}): "
        f"{_count(event.jobs, 'job')} will run again{failed}"
    )


@_reads(e.HistoryPruned, logging.DEBUG, "·")
def _history_pruned(event: e.HistoryPruned) -> str:
    return f"retention deleted {_count(event.jobs, 'old job')} in {span(event.seconds)}"


@_reads(e.VacuumRefused, logging.WARNING, "!")
def _vacuum_refused(event: e.VacuumRefused) -> str:
    return (
        f"may not vacuum {event.table} ({one_line(event.reason)}): claims slow down under load; "
        "let the worker connect as the tables' owner, or GRANT it MAINTAIN (PostgreSQL 17 and later)"
    )


@_reads(e.ChoreFailed, logging.WARNING, "!")
def _chore_failed(event: e.ChoreFailed) -> str:
    return f"{event.chore} failed, trying again later: {_why(event.error, event.error_message)}"


@_reads(e.TickLeftOut, logging.WARNING, "!")
def _tick_left_out(event: e.TickLeftOut) -> str:
    return f"schedule {one_line(event.schedule, 80)} made no job for {event.tick}: {event.why}"


@_reads(e.SchemaNewer, logging.WARNING, "!")
def _schema_newer(event: e.SchemaNewer) -> str:
    return (
        f"the schema is at version {event.current}, this pgjobq knows version {event.wanted}: right while a "
        "deployment is under way, but upgrade this worker soon"
    )
