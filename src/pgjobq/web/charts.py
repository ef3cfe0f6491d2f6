"""Pictures of what happened, drawn here as SVG: no script, no library, and a reader's browser has nothing to compute.

No `style` attribute and no inline style: the page's policy forbids them; colours come from classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from markupsafe import Markup

from pgjobq.errors import InvalidOption
from pgjobq.history import Minute

__all__ = ["SPANS", "Span", "bars", "errors", "line", "nice_top", "spark", "waiting"]

WIDTH, HEIGHT, BASE, TOP = 720, 146, 122, 16
PLOT = 680
"""Up to here something is drawn; the scale's numbers stand right of it, where no line runs through them."""
SPARK_WIDTH, SPARK_HEIGHT = 120, 22


@dataclass(frozen=True, slots=True)
class Span:
    """How far back the charts go."""

    name: str
    words: str
    minutes: int
    step: int
    """Minutes that are drawn as one."""
    tick: int
    """Minutes from one written time to the next."""
    kept: float
    """Seconds for which what was read is shown again: it costs more the farther it goes back."""

    @property
    def each(self) -> str:
        """What one bar stands for."""
        return {1: "a minute", 60: "an hour"}.get(self.step, f"{self.step} minutes")

    def label(self, minute: Minute) -> str:
        """When that was, as a tooltip says it."""
        return f"{minute.minute:%H:%M} UTC" if self.minutes <= 1440 else f"{minute.minute:%a %H:%M} UTC"


SPANS = {
    span.name: span
    for span in (
        Span("1h", "hour", 60, 1, 15, 5.0),
        Span("24h", "24 hours", 1440, 15, 180, 30.0),
        Span("3d", "3 days", 4320, 60, 720, 60.0),
    )
}


def bars(minutes: Sequence[Minute], span: Span) -> Markup:
    """What ended in each minute: a bar each, failures in their own colour on top."""
    kinds = ("succeeded", "cancelled", "failed")
    said = (
        f"Jobs ended in the last {span.words}: {sum(m.succeeded for m in minutes):,} succeeded, "
        f"{sum(m.failed for m in minutes):,} failed."
    )
    return _stacks(minutes, span, kinds, said)


def errors(minutes: Sequence[Minute], span: Span) -> Markup:
    """What failed in each minute: attempts that are tried again, and on top jobs that were given up."""
    said = (
        f"Attempts that failed in the last {span.words}: {sum(m.retried for m in minutes):,} tried again, "
        f"{sum(m.failed for m in minutes):,} jobs given up."
    )
    return _stacks(minutes, span, ("retried", "failed"), said)


def line(minutes: Sequence[Minute], span: Span) -> Markup:
    """How long an attempt took: the median, and what one in twenty exceeded."""
    worst = max((m.slow or 0.0 for m in minutes), default=0.0)
    top = nice_top(worst, least=0.01)
    parts = [_scale(top, " s")]
    for kind in ("slow", "median"):
        parts.extend(_runs(minutes, attrgetter(kind), kind, top))
    for place, m in enumerate(minutes):
        if m.median is not None and m.slow is not None:
            label = f"{span.label(m)}: median {m.median:.3g} s, one in twenty over {m.slow:.3g} s"
            parts.append(_spot(place, len(minutes), label))
    said = f"Time an attempt took in the last {span.words}; at most {worst:.3g} s for 95 %."
    return _svg(said, parts, minutes, span)


def waiting(minutes: Sequence[Minute], span: Span) -> Markup:
    """How many jobs waited for a worker."""
    most = max((m.ready or 0 for m in minutes), default=0)
    top = nice_top(most)
    parts = [_scale(top, "")]
    parts.extend(_runs(minutes, attrgetter("ready"), "ready", top))
    for place, m in enumerate(minutes):
        if m.ready is not None:
            oldest = "" if m.oldest is None else f", the first of them for {m.oldest:,.3g} s"
            parts.append(_spot(place, len(minutes), f"{span.label(m)}: {m.ready:,} waited{oldest}"))
    return _svg(f"Jobs that waited for a worker in the last {span.words}; at most {most:,}.", parts, minutes, span)


def spark(ended: Sequence[int], failed: Sequence[int], said: str) -> Markup:
    """A small picture for a table's cell: what ended, a bar for each minute, a tick where something was given up."""
    if len(ended) != len(failed):
        raise InvalidOption("a spark wants as many minutes of failures as of ends")
    top, step = max(max(ended, default=0), 1), SPARK_WIDTH / max(1, len(ended))
    parts = [f'<line class="axis" x1="0" x2="{SPARK_WIDTH}" y1="{SPARK_HEIGHT - 0.5}" y2="{SPARK_HEIGHT - 0.5}"/>']
    for place, (count, wrong) in enumerate(zip(ended, failed, strict=True)):
        if count:
            high = max(1.0, count / top * (SPARK_HEIGHT - 1))
            kind = "failed" if wrong else "succeeded"
            parts.append(
                f'<rect class="{kind}" x="{place * step:.1f}" y="{SPARK_HEIGHT - high:.1f}" '
                f'width="{max(0.5, step - 0.4):.1f}" height="{high:.1f}"/>'
            )
    head = f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" role="img" aria-label="'
    return Markup(head) + said + Markup('">' + "".join(parts) + "</svg>")  # noqa: S704


def nice_top(value: float, least: float = 5) -> float:
    """The next number of 1, 2, 5, 10, 20, … that is not below the value."""
    value, size = max(value, least), 1e-6
    while True:
        for factor in (1, 2, 5):
            if size * factor >= value * 0.999999:
                return size * factor
        size *= 10


def _stacks(minutes: Sequence[Minute], span: Span, kinds: Sequence[str], said: str) -> Markup:
    """A stack for each minute, the first kind at the bottom."""
    top = nice_top(max((sum(getattr(m, kind) for kind in kinds) for m in minutes), default=0))
    step = PLOT / max(1, len(minutes))
    parts = [_scale(top, "")]
    for place, m in enumerate(minutes):
        y, x, drawn = float(BASE), place * step, []
        for kind in kinds:
            if count := getattr(m, kind):
                high = max(2.0 if kind == "failed" else 0.5, count / top * (BASE - TOP))
                y -= high
                drawn.append(
                    f'<rect class="{kind}" x="{x + 0.7:.1f}" y="{y:.1f}" width="{step - 1.4:.1f}" height="{high:.1f}"/>'
                )
        counts = ", ".join(f"{getattr(m, kind):,} {'tried again' if kind == 'retried' else kind}" for kind in kinds)
        parts.append(_spot(place, len(minutes), f"{span.label(m)}: {counts}", "".join(drawn)))
    return _svg(said, parts, minutes, span)


def _spot(place: int, count: int, label: str, drawn: str = "") -> str:
    """What the pointer meets over one minute."""
    step = PLOT / count
    hit = f'<rect class="hit" x="{place * step:.1f}" y="0" width="{step:.1f}" height="{BASE}"/>'
    return f"<g><title>{label}</title>{hit}{drawn}</g>"


def _runs(minutes: Sequence[Minute], read: Callable[[Minute], float | None], kind: str, top: float) -> list[str]:
    """One line for each run of minutes that are known; a minute by itself is a dot."""
    drawn: list[str] = []
    run: list[str] = []
    step = PLOT / max(1, len(minutes))
    for place, m in enumerate([*minutes, None]):
        value = read(m) if m is not None else None
        if value is not None:
            run.append(f"{(place + 0.5) * step:.1f},{BASE - value / top * (BASE - TOP):.1f}")
        elif run:
            if len(run) == 1:
                x, y = run[0].split(",")
                drawn.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="2.5"/>')
            else:
                drawn.append(f'<polyline class="{kind}" points="{" ".join(run)}"/>')
            run = []
    return drawn


def _scale(top: float, unit: str) -> str:
    marks = []
    for share in (1.0, 0.5):
        y = BASE - share * (BASE - TOP)
        label = f"{top * share:,.0f}" if top * share >= 10 else f"{top * share:.3g}"
        marks.append(f'<line class="grid" x1="0" x2="{PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text x="{WIDTH}" y="{y + 4:.1f}" text-anchor="end">{label}{unit}</text>')
    marks.append(f'<line class="axis" x1="0" x2="{PLOT}" y1="{BASE}" y2="{BASE}"/>')
    return "".join(marks)


def _svg(said: str, parts: Sequence[str], minutes: Sequence[Minute], span: Span) -> Markup:
    ticks = []
    for place, m in enumerate(minutes):
        if (m.minute.timestamp() // 60) % span.tick == 0:
            x = (place + 0.5) * PLOT / len(minutes)
            anchor = "start" if x < 24 else "middle"
            written = f"{m.minute:%H:%M}" if span.minutes <= 1440 else f"{m.minute:%a %H:%M}"
            ticks.append(f'<text x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{written}</text>')
    # All of it is numbers, times and texts from this file: nothing comes from a job.
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
    return Markup(f"{head}{''.join([*parts, *ticks])}</svg>")  # noqa: S704
