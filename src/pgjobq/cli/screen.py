"""The picture that `pgjobq top` draws: a Glance as lines for a terminal of this size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgjobq.cli.cells import cells, fit, plain, sparkline
from pgjobq.cli.glance import Glance
from pgjobq.explanation import brief, span
from pgjobq.survey import QueueFigures

__all__ = ["SORTS", "View", "draw", "sorted_queues"]

BOLD, DIM, REVERSED, RED, GREEN, YELLOW, CYAN = "1", "2", "7", "31", "32", "33", "36"
KEYS = "q quit  ↑↓ pick  enter only this queue  p pause it  s sort  space freeze"
NARROWEST = 20
"""Cells below which the terminal cuts the lines."""
STALE = 10
"""Seconds after which a picture is old: the database has not answered since."""

_SORTS: dict[str, Callable[[Glance, QueueFigures], tuple[object, ...]]] = {
    "ready": lambda _, one: (-one.ready, one.queue),
    "running": lambda _, one: (-one.running, one.queue),
    "pace": lambda seen, one: (-seen.pace.get(one.queue, 0.0), one.queue),
    "oldest": lambda seen, one: (one.oldest or seen.at, one.queue),
    "name": lambda _, one: (one.queue,),
}
SORTS = tuple(_SORTS)


@dataclass(frozen=True, slots=True)
class View:
    """How somebody wants to see it."""

    sort: str = "ready"
    picked: str | None = None
    """The queue that the cursor is on."""
    only: str | None = None
    """The one queue that is shown, or all."""
    frozen: bool = False
    message: str | None = None
    """Said in place of the keys: a question, or what became of it."""
    trouble: str | None = None
    """Why the last look failed."""
    colours: bool = True
    keys: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the picture: its columns (name, width, whether its figures stand on the right), and its rows."""

    columns: tuple[tuple[str, int, bool], ...]
    rows: list[tuple[list[str], str | None]]
    """Cells, and the colour of the row."""
    nothing: str
    picked: int = 0
    """The row that is to be seen."""


def sorted_queues(seen: Glance, sort: str) -> list[QueueFigures]:
    """The queues in this order."""
    return sorted(seen.queues, key=lambda one: _SORTS[sort](seen, one))


def draw(seen: Glance, view: View, width: int, height: int, now: datetime | None = None) -> list[str]:
    """At most `height` lines of at most `width` cells (from 20 on), with the codes of colours if the view has them."""
    now, width = now or seen.at, max(width, NARROWEST)
    paint = _Paint(view.colours)
    head = [paint(_title(seen, view, width, now), REVERSED), _counts(seen, width), *_minutes(seen, width, paint)]
    sections = [_queues(seen, view), _running(seen, view, width, now), _failed(seen, now), _workers(seen, now)]
    foot = [_foot(view, width, paint)] if view.keys or view.message or view.trouble else []
    body = _laid_out(sections, width, height - len(head) - len(foot), paint)
    lines = head + body
    if foot and view.keys:  # the keys stand in the last line, wherever the tables end
        lines += [""] * (height - len(lines) - len(foot))
    return (lines + foot)[:height]


class _Paint:
    def __init__(self, colours: bool) -> None:
        self.colours = colours

    def __call__(self, text: str, code: str | None) -> str:
        return f"\033[{code}m{text}\033[0m" if code and self.colours else text


# --- the head ------------------------------------------------------------------------------------------------


def _title(seen: Glance, view: View, width: int, now: datetime) -> str:
    clock = f"{seen.at.astimezone():%H:%M:%S}"
    if (now - seen.at).total_seconds() > STALE:
        clock = f"as of {clock}, {span(now, seen.at)} ago"
    right = f"{'frozen  ' if view.frozen else ''}{clock} "
    left = " pgjobq top  " + (f"only queue {view.only}  " if view.only else "") + seen.database
    return fit(plain(left), width - cells(right)) + right


def _counts(seen: Glance, width: int) -> str:
    counts, alive = seen.counts, [one for one in seen.workers if one.alive]
    busy, places = sum(one.busy for one in alive), sum(one.concurrency for one in alive)
    words = [
        f"{_many(getattr(counts, state), counts.cap)} {state}"
        for state in ("ready", "running", "scheduled", "blocked", "failed")
    ]
    words.append(f"{len(alive)} worker{'s' * (len(alive) != 1)} {busy:,}/{places:,}")
    return fit(" " + "  ".join(words), width)


def _minutes(seen: Glance, width: int, paint: _Paint) -> list[str]:
    """What ended and what failed in each of the last minutes, a bar each; in figures, of the last whole one."""
    minutes, times = seen.minutes, ""
    whole = minutes[-2] if len(minutes) > 1 else None
    if last := next((one for one in reversed(minutes) if one.median is not None), None):
        times = f"median {_took(last.median)}, p95 {_took(last.slow)}"
    bars = max(0, min(len(minutes), width - 11 - 38))
    lines = []
    for name, colour, beside in (("succeeded", GREEN, times), ("failed", RED, "")):
        line = sparkline([float(getattr(one, name)) for one in minutes], bars)
        figure = ", ".join(filter(None, (f"{getattr(whole, name) if whole else 0:,}/min", beside)))
        lines.append(f" {name:<9} {paint(line, colour)}{fit(f'  {figure}', width - 11 - bars)}")
    return lines


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return (
        f"{seconds * 1000:.0f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
    )


def _many(count: int, cap: int) -> str:
    return f"{count:,}{'+' * (count >= cap)}"


# --- the tables ----------------------------------------------------------------------------------------------


def _queues(seen: Glance, view: View) -> Section:
    paused = {one.name for one in seen.pauses if one.kind == "queue"}
    shown = [one for one in sorted_queues(seen, view.sort) if view.only in (None, one.queue)]
    columns = [(f"QUEUE by {view.sort}", 0, False), ("READY", 8, True), ("RUN", 6, True), ("LATER", 7, True),
               ("BLOCKED", 7, True), ("PER MIN", 8, True), ("OLDEST", 7, True), ("STATE", 8, False)]  # fmt: skip
    rows: list[tuple[list[str], str | None]] = []
    for one in shown:
        state, colour = _state(one, paused)
        row = [
            f"{'>' if one.queue == view.picked else ' '}{plain(one.queue)}", _many(one.ready, one.cap),
            _many(one.running, one.cap), _many(one.scheduled, one.cap), _many(one.blocked, one.cap),
            f"{seen.pace.get(one.queue, 0.0):,.0f}", span(seen.at, one.oldest) if one.oldest else "-", state,
        ]  # fmt: skip
        rows.append((row, REVERSED if one.queue == view.picked else colour))
    picked = next((place for place, one in enumerate(shown) if one.queue == view.picked), 0)
    return Section(tuple(columns), rows, "no queue yet: jobs make them", picked)


def _state(one: QueueFigures, paused: set[str]) -> tuple[str, str | None]:
    if one.queue in paused:
        return "paused", YELLOW
    if one.ready and not one.workers:
        return "unserved", RED
    return f"{one.workers} serve", None


def _running(seen: Glance, view: View, width: int, now: datetime) -> Section:
    found = [(job, one) for one in seen.workers for job in one.running if view.only in (None, job.queue)]
    found.sort(key=lambda pair: pair[0].started_at)
    columns = (("RUNNING", 10, True), ("FOR", 7, True), ("TASK", 0, False), ("REF", 16, False), ("TRY", 3, True),
               ("QUEUE", 12 if width >= 100 else 10, False), ("ON", 18 if width >= 100 else 12, False))  # fmt: skip
    rows: list[tuple[list[str], str | None]] = [
        ([str(job.job), span(now, job.started_at), plain(job.task), plain(job.ref or ""), str(job.attempt),
          plain(job.queue), plain(f"{one.host}:{one.pid}")], None if one.alive else RED)
        for job, one in found
    ]  # fmt: skip
    return Section(columns, rows, "nothing runs")


def _failed(seen: Glance, now: datetime) -> Section:
    columns = (("FAILED", 10, True), ("AGO", 7, True), ("TASK", 18, False), ("REF", 14, False), ("WHY", 0, False))
    rows: list[tuple[list[str], str | None]] = [
        ([str(job.id), span(now, job.finished_at or now), plain(job.task), plain(job.ref or ""),
          plain(_why(job.reason))],
         RED if job.finished_at and (now - job.finished_at).total_seconds() < 300 else None)
        for job in seen.failed
    ]  # fmt: skip
    return Section(columns, rows, "nothing has failed for good")


def _why(reason: str | None) -> str:
    """The error without the module that its class is from."""
    kind, colon, message = brief(reason or "", 300).partition(":")
    return f"{kind.rpartition('.')[2]}{colon}{message}"


def _workers(seen: Glance, now: datetime) -> Section:
    columns = (("WORKER", 10, False), ("BUSY", 9, True), ("UP", 8, True), ("APP", 0, False), ("HOST", 22, False),
               ("QUEUES", 16, False))  # fmt: skip
    rows: list[tuple[list[str], str | None]] = [
        ([one.id[:8], f"{one.busy}/{one.concurrency}" if one.alive else "dead", span(now, one.started_at),
          plain(one.app), plain(f"{one.host}:{one.pid}"), plain(",".join(one.queues) or "all")],
         None if one.alive else RED)
        for one in sorted(seen.workers, key=lambda one: (one.alive, -one.busy))
    ]  # fmt: skip
    return Section(columns, rows, "no worker is alive: `pgjobq worker APP` starts one")


# --- laying out ----------------------------------------------------------------------------------------------


def _laid_out(sections: Sequence[Section], width: int, height: int, paint: _Paint) -> list[str]:
    """The sections one below the other: each gets its head and a row, then each in turn another one it can use."""
    airy = height >= 4 * len(sections)
    used = [section for number, section in enumerate(sections) if 2 * (number + 1) <= height] or list(sections[:1])
    shares = [1] * len(used)
    left = height - sum(1 + share + airy for share in ([*shares]))
    while left > 0 and (hungry := [n for n, one in enumerate(used) if shares[n] < len(one.rows)]):
        for number in hungry[:left]:
            shares[number] += 1
            left -= 1
    lines: list[str] = []
    for section, share in zip(used, shares, strict=True):
        lines += [""] if airy else []
        lines += _table(section, share, width, paint)
    return lines[:height]


def _table(section: Section, most: int, width: int, paint: _Paint) -> list[str]:
    columns = _narrowed(_as_needed(section), width)
    head = "  ".join(fit(name, room, right=right) for _, name, room, right in columns)
    hidden = len(section.rows) - most
    head = fit(head, width)
    lines = [paint(head, BOLD)]
    if not section.rows:
        return [*lines, paint(fit(f"  {section.nothing}", width), DIM)]
    room = most - 1 if hidden > 0 and most > 1 else most
    first = max(0, section.picked - room + 1)
    for row, colour in section.rows[first : first + room]:
        line = "  ".join(fit(row[place], size, right=right) for place, _, size, right in columns)
        lines.append(paint(fit(line, width), colour))
    if room < most:
        lines.append(paint(fit(f"  … {hidden + 1:,} more", width), DIM))
    return lines


def _as_needed(section: Section) -> Iterable[tuple[str, int, bool]]:
    """The columns, those of texts no wider than what stands in them; those of figures keep still."""
    for place, (name, size, right) in enumerate(section.columns):
        needed = max([cells(name), *(cells(row[place]) for row, _ in section.rows)])
        yield name, size if right else min(size, needed), right


def _narrowed(columns: Iterable[tuple[str, int, bool]], width: int) -> list[tuple[int, str, int, bool]]:
    """(place, name, cells, right) of the columns that fit: the one without a width takes what is left, and the last
    ones go first where nothing is left."""
    kept = [(place, *column) for place, column in enumerate(columns)]
    while True:
        room = width - sum(size for _, _, size, _ in kept) - 2 * (len(kept) - 1)
        if room >= 12 or len(kept) <= 2:
            return [(place, name, size or max(1, room), right) for place, name, size, right in kept]
        kept.remove(next(column for column in reversed(kept) if column[2]))


def _foot(view: View, width: int, paint: _Paint) -> str:
    if view.trouble:
        return paint(fit(f" {plain(view.trouble)}", width), RED)
    if view.message:
        return paint(fit(f" {plain(view.message)}", width), BOLD)
    return paint(fit(f" {KEYS}", width), DIM)
