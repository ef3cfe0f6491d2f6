"""Pictures of the last hour, drawn here as SVG: no script, no library, and a reader's browser has nothing to compute.

No `style` attribute and no inline style: the page's policy forbids them; colours come from classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pgjobq.history import Minute

__all__ = ["bars", "line"]

WIDTH, HEIGHT, BASE, TOP = 720, 156, 136, 18


def bars(minutes: Sequence[Minute]) -> Markup:
    """What ended in each minute: a bar each, failures in their own colour on top."""
    top = nice_top(max((m.succeeded + m.failed + m.cancelled for m in minutes), default=0))
    step = WIDTH / max(1, len(minutes))
    parts = [_scale(top, "")]
    for place, m in enumerate(minutes):
        y, x = float(BASE), place * step
        label = f"{m.minute:%H:%M} UTC: {m.succeeded:,} succeeded, {m.failed:,} failed, {m.cancelled:,} cancelled"
        drawn = []
        for kind, count in (("succeeded", m.succeeded), ("cancelled", m.cancelled), ("failed", m.failed)):
            if count:
                high = max(2.0 if kind == "failed" else 0.5, count / top * (BASE - TOP))
                y -= high
                drawn.append(
                    f'<rect class="{kind}" x="{x + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{high:.1f}"/>'
                )
        hit = f'<rect class="hit" x="{x:.1f}" y="0" width="{step:.1f}" height="{BASE}"/>'
        parts.append(f"<g><title>{label}</title>{hit}{''.join(drawn)}</g>")
    total = sum(m.succeeded for m in minutes)
    wrong = sum(m.failed for m in minutes)
    said = f"Jobs ended in the last {len(minutes)} minutes: {total:,} succeeded, {wrong:,} failed."
    return _svg(said, parts, minutes)


def line(minutes: Sequence[Minute]) -> Markup:
    """How long an attempt took, minute by minute: the median, and what one in twenty exceeded."""
    known = [m for m in minutes if m.slow is not None]
    top = nice_top(max((m.slow or 0.0 for m in known), default=0.0), least=0.01)
    step = WIDTH / max(1, len(minutes))
    parts = [_scale(top, " s")]
    for kind in ("slow", "median"):
        parts.extend(_runs(minutes, kind, top, step))
    for place, m in enumerate(minutes):
        if m.median is not None and m.slow is not None:
            label = f"{m.minute:%H:%M} UTC: median {m.median:.3g} s, one in twenty over {m.slow:.3g} s"
            hit = f'<rect class="hit" x="{place * step:.1f}" y="0" width="{step:.1f}" height="{BASE}"/>'
            parts.append(f"<g><title>{label}</title>{hit}</g>")
    worst = max((m.slow or 0.0 for m in known), default=0.0)
    return _svg(
        f"Time an attempt took in the last {len(minutes)} minutes; at most {worst:.3g} s for 95 %.", parts, minutes
    )


def nice_top(value: float, least: float = 5) -> float:
    """The next number of 1, 2, 5, 10, 20, … that is not below the value."""
    value, size = max(value, least), 1e-6
    while True:
        for factor in (1, 2, 5):
            if size * factor >= value * 0.999999:
                return size * factor
        size *= 10


def _runs(minutes: Sequence[Minute], kind: str, top: float, step: float) -> list[str]:
    """One line for each run of minutes in which something ended; a minute by itself is a dot."""
    drawn: list[str] = []
    run: list[str] = []
    for place, m in enumerate([*minutes, None]):
        value = getattr(m, kind) if m is not None else None
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
        marks.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text x="{WIDTH}" y="{y - 3:.1f}" text-anchor="end">{label}{unit}</text>')
    marks.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/>')
    return "".join(marks)


def _svg(said: str, parts: Sequence[str], minutes: Sequence[Minute]) -> Markup:
    ticks = []
    for place, m in enumerate(minutes):
        if m.minute.minute % 15 == 0:
            x = (place + 0.5) * WIDTH / len(minutes)
            anchor = "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"
            ticks.append(f'<text x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{m.minute:%H:%M}</text>')
    # All of it is numbers, times and texts from this file: nothing comes from a job.
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
    return Markup(f"{head}{''.join([*parts, *ticks])}</svg>")  # noqa: S704
