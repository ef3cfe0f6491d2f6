"""A workflow drawn as a graph: SVG made here, in layers from left to right, each job a box that leads to its page.

No `style` attribute and no inline style: the page's policy forbids them; colours come from classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from markupsafe import Markup, escape

from pgjobq.job import JobState
from pgjobq.workflow import WorkflowGraph, WorkflowNode

__all__ = ["Box", "drawn", "laid_out"]

BOX, HIGH, GAP, AISLE, MARGIN = 172, 42, 12, 56, 8
"""Width and height of a box, the space between two, between two layers, and around all of them; pixels."""
TALLEST = 14
"""Boxes one above the other; a layer that has more is broken into columns."""
ALIKE = 9
"""So many jobs of one task that come after and before the same ones are drawn as one box."""
LONGEST_NAME = 22
SWEEPS = 4

WORST_FIRST = (
    JobState.FAILED, JobState.CANCELLED, JobState.RUNNING, JobState.READY, JobState.SCHEDULED, JobState.BLOCKED,
    JobState.SUCCEEDED,
)  # fmt: skip


@dataclass(slots=True)
class Box:
    """Something that is drawn: a job, some alike ones, or (with no task) the workflow as a whole."""

    id: int
    task: str | None
    states: dict[JobState, int]
    before: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)
    layer: int = 0
    mean: float = 0.0
    """Where its neighbours stand in their layers, on the average."""
    x: int = 0
    y: int = 0

    @property
    def jobs(self) -> int:
        """How many jobs it stands for."""
        return sum(self.states.values())

    @property
    def state(self) -> JobState:
        """The one that wants attention most."""
        return next((state for state in WORST_FIRST if self.states.get(state)), JobState.SUCCEEDED)


def drawn(graph: WorkflowGraph, workflow: int, root: str) -> Markup:
    """The picture; empty where there is nothing to show."""
    boxes = laid_out(graph, workflow)
    if not boxes:
        return Markup("")
    needs = {(link.before, link.after): link.needs for link in graph.links}
    width = max(box.x for box in boxes) + BOX + MARGIN
    height = max(box.y for box in boxes) + HIGH + MARGIN
    at = {box.id: box for box in boxes}
    parts = [
        _line(at[box.id], at[other], needs.get((box.id, other), "success"))
        for box in boxes
        for other in sorted(box.after)
    ]
    parts += [_box(box, workflow, root) for box in boxes]
    said = f"{sum(box.jobs for box in boxes if box.task):,} jobs and what waits for what, from left to right"
    head = Markup('<svg class="flow" width="{}" height="{}" viewBox="0 0 {} {}" role="group" aria-label="{}">').format(
        width, height, width, height, said
    )
    return head + Markup("").join(parts) + Markup("</svg>")


# ------------------------------------------------------------------------------------------------ where what stands


def laid_out(graph: WorkflowGraph, workflow: int) -> list[Box]:
    """The boxes with their places: each right of all it comes after, near to those it is linked with."""
    boxes = _alike_as_one(_boxes(graph, workflow))
    _layer(boxes)
    columns: dict[int, list[Box]] = {}
    for box in sorted(boxes.values(), key=lambda box: box.id):
        columns.setdefault(box.layer, []).append(box)
    layers = [columns[layer] for layer in sorted(columns)]
    _untangle(layers)
    x = MARGIN
    for layer in layers:
        for start in range(0, len(layer), TALLEST):
            column = layer[start : start + TALLEST]
            for place, box in enumerate(column):
                box.x, box.y = x, MARGIN + place * (HIGH + GAP)
            x += BOX + (GAP if start + TALLEST < len(layer) else AISLE)
    _centre(layers)
    return list(boxes.values())


def _boxes(graph: WorkflowGraph, workflow: int) -> dict[int, Box]:
    boxes = {node.id: Box(node.id, node.task, dict(node.states)) for node in graph.nodes}
    for link in graph.links:
        if link.before in boxes and link.after in boxes:
            _link(boxes[link.before], boxes[link.after])
    followers = [link.after for link in graph.links if link.before == workflow and link.after in boxes]
    if followers:
        whole = boxes[workflow] = Box(workflow, None, {})
        for one in followers:
            _link(whole, boxes[one])
        for node in graph.nodes:
            if not node.waits_for_whole and not _leads_on(boxes[node.id], graph.nodes):
                _link(boxes[node.id], whole)
    return boxes


def _leads_on(box: Box, nodes: Iterable[WorkflowNode]) -> bool:
    """Whether another job that is counted comes after it."""
    counted = {node.id for node in nodes if not node.waits_for_whole} if box.after else set()
    return bool(box.after & counted)


def _link(before: Box, after: Box) -> None:
    before.after.add(after.id)
    after.before.add(before.id)


def _alike_as_one(boxes: dict[int, Box]) -> dict[int, Box]:
    """Many jobs of one task between the same neighbours say no more than their number."""
    kinds: dict[tuple[str | None, frozenset[int], frozenset[int]], list[Box]] = {}
    for box in boxes.values():
        kinds.setdefault((box.task, frozenset(box.before), frozenset(box.after)), []).append(box)
    for alike in kinds.values():
        if len(alike) < ALIKE:
            continue
        first, *others = sorted(alike, key=lambda box: box.id)
        for other in others:
            for state, count in other.states.items():
                first.states[state] = first.states.get(state, 0) + count
            for neighbour in other.before:
                boxes[neighbour].after.discard(other.id)
            for neighbour in other.after:
                boxes[neighbour].before.discard(other.id)
            del boxes[other.id]
    return boxes


def _layer(boxes: dict[int, Box]) -> None:
    """Each one layer behind the last it comes after. Groups may run in a circle, which is broken at its first job."""
    open_ = {box.id: len(box.before) for box in boxes.values()}
    free = [number for number, count in open_.items() if not count]
    left = set(open_) - set(free)
    while free or left:
        if not free:  # a circle: break it at its first job
            first = min(left)
            left.discard(first)
            free = [first]
        box = boxes[free.pop()]
        for other in box.after:
            boxes[other].layer = max(boxes[other].layer, box.layer + 1) if other in left else boxes[other].layer
            open_[other] -= 1
            if not open_[other] and other in left:
                left.discard(other)
                free.append(other)


def _untangle(layers: list[list[Box]]) -> None:
    """Sort each layer by where its neighbours stand, there and back a few times."""
    place = {box.id: float(n) for layer in layers for n, box in enumerate(layer)}
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        for layer in layers if forth else reversed(layers):
            for box in layer:
                near = box.before if forth else box.after
                box.mean = sum(place[other] for other in near) / len(near) if near else place[box.id]
            layer.sort(key=attrgetter("mean", "id"))
            place |= {box.id: float(n) for n, box in enumerate(layer)}


def _centre(layers: list[list[Box]]) -> None:
    """Layers with less in them stand in the middle, where the middle is seen without scrolling."""
    tallest = max((min(len(layer), TALLEST) for layer in layers), default=0)
    for layer in layers if tallest <= TALLEST // 2 else ():
        down = (tallest - min(len(layer), TALLEST)) * (HIGH + GAP) // 2
        for box in layer:
            box.y += down


# ------------------------------------------------------------------------------------------------ how it looks


def _line(box: Box, other: Box, needs: str) -> Markup:
    x1, y1, x2, y2 = box.x + BOX, box.y + HIGH // 2, other.x, other.y + HIGH // 2
    bend = max(20, abs(x2 - x1) // 2)
    told = {"any": "however it ends", "failure": "if it fails"}.get(needs, "if it succeeds")
    return Markup('<path class="{}" d="M{} {}C{} {} {} {} {} {}"><title>{}</title></path>').format(
        needs, x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2, told
    )


def _box(box: Box, workflow: int, root: str) -> Markup:
    middle = box.x + BOX // 2
    if box.task is None:
        return Markup(
            '<g class="whole"><rect x="{}" y="{}" width="{}" height="{}" rx="21"/>'
            '<text x="{}" y="{}" text-anchor="middle">all of it</text></g>'
        ).format(box.x, box.y, BOX, HIGH, middle, box.y + 26)
    name = box.task if box.jobs == 1 else f"{box.jobs:,} × {box.task}"
    if box.jobs == 1:
        leads, below = f"{root}/jobs/{box.id}", f"{box.state} #{box.id}"
    else:
        leads = f"{root}/workflows/{workflow}#jobs"
        below = ", ".join(f"{box.states[state]:,} {state}" for state in WORST_FIRST if box.states.get(state))
    return Markup(
        '<a href="{}" class="{}"><title>{}: {}</title><rect x="{}" y="{}" width="{}" height="{}" rx="7"/>'
        '<text class="name" x="{}" y="{}">{}</text><text class="state" x="{}" y="{}">{}</text></a>'
    ).format(
        leads, box.state, name, below, box.x, box.y, BOX, HIGH,
        box.x + 11, box.y + 18, _short(name), box.x + 11, box.y + 34, _short(below, LONGEST_NAME + 4),
    )  # fmt: skip


def _short(text: str, longest: int = LONGEST_NAME) -> str:
    return escape(text if len(text) <= longest else f"{text[: longest - 1]}…")
