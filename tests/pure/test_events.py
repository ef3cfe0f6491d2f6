"""Events: plain values with a name, each of which can be read as a line."""

from __future__ import annotations

import inspect

import pytest

from pgjobq import events
from pgjobq.logs.sentences import read

KINDS = [
    kind
    for _, kind in inspect.getmembers(events, inspect.isclass)
    if issubclass(kind, events.Event) and kind not in (events.Event, events.JobEvent)
]
SAMPLES = {
    "str": "text",
    "str | None": "text",
    "int": 7,
    "int | None": 7,
    "float": 1.5,
    "float | None": 1.5,
    "bool": True,
    "tuple[str, ...]": ("a", "b"),
    "tuple[int, ...]": (1, 2),
}


def samples(kind: type[events.Event]) -> dict[str, object]:
    """Something for every field."""
    types: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        types |= inspect.get_annotations(each)
    return {name: SAMPLES[types[name]] for name in kind.__struct_fields__}


def sample(kind: type[events.Event]) -> events.Event:
    """An event with something in every field."""
    return kind(**samples(kind))


def test_all_events_are_public() -> None:
    assert {kind.__name__ for kind in KINDS} | {"Event", "JobEvent"} == set(events.__all__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_a_value(kind: type[events.Event]) -> None:
    event = sample(kind)
    assert event == sample(kind)
    assert hash(event) == hash(sample(kind))
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError, match="immutable"):
        setattr(event, kind.__struct_fields__[0], 1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_leaves_the_keys_of_the_log_alone(kind: type[events.Event]) -> None:
    assert set(kind.__struct_fields__).isdisjoint({"event", "time", "level", "message", "logger"})


def test_names() -> None:
    assert events.JobSucceeded.name() == "job_succeeded"
    assert events.JobsReturned.name() == "jobs_returned"
    assert len({kind.name() for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_has_a_sentence_of_its_own(kind: type[events.Event]) -> None:
    reading = read(kind)
    assert reading is not read(events.Event)
    sentence = reading.say(sample(kind))
    assert sentence.isprintable()
    assert len(sentence) > 10


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if issubclass(kind, events.JobEvent)], ids=lambda k: k.__name__
)
def test_a_jobs_sentence_names_task_job_and_ref(kind: type[events.JobEvent]) -> None:
    event = kind(**(samples(kind) | {"task": "send_mail", "job": 42, "ref": "order:7"}))
    assert read(kind).say(event).startswith("send_mail #42 order:7 ")
