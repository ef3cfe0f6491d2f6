"""Gates: what they refuse, and the keys they make."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgjobq import Gate, InvalidOption, Queue, Secret, TaskError

queue = Queue()


@queue.task(queue="mail")
def send(user: int, mail: str = "digest", extra: dict[str, int] | None = None) -> None:
    """Nothing."""


@queue.task
def login(user: str, password: Secret[str]) -> None:
    """Nothing."""


def entries(*gates: Gate, task: Any = send, **arguments: Any) -> Any:
    text = task.using(gates=gates).call(**arguments).gates
    assert text is not None
    return json.loads(text)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("all", "all"),
        ("user:{user}", "user:7"),
        ("{task}/{queue}", "send/mail"),
        ("{mail}", "digest"),
        ("{extra}", '{"a":1,"b":2}'),
        ("{{{user}}}", "{7}"),
    ],
)
def test_the_key(name: str, key: str) -> None:
    (entry,) = entries(Gate(name, concurrency=3), user=7, extra={"b": 2, "a": 1})
    assert entry == {"key": key, "concurrency": 3} | ({} if name == key else {"name": name})


def test_an_order_and_what_a_failure_does() -> None:
    (entry,) = entries(Gate("all", order="fifo", on_failure="pass"), user=7)
    assert entry == {"key": "all", "order": "fifo", "on_failure": "pass"}


def test_long_and_secret_values_stand_in_a_key_as_digests() -> None:
    (entry,) = entries(Gate("{mail}", concurrency=1), user=7, mail="x" * 300)
    assert entry["key"].startswith("sha256:")
    (entry,) = entries(Gate("{user}", concurrency=1), task=login, user="ada", password="secret")
    assert entry["key"].startswith("sha256:")
    assert "ada" not in json.dumps(entry)


def test_a_call_with_gates_is_not_plain_and_without_it_is() -> None:
    assert send.call(user=1).is_plain
    assert send.using(gates=[]).call(user=1).is_plain
    assert not send.using(gates=[Gate("all", concurrency=1)]).call(user=1).is_plain


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Gate(""), "1 to 255"),
        (lambda: Gate("all"), "limits nothing"),
        (lambda: Gate("all", concurrency=0), "from 1 on"),
        (lambda: Gate("all", concurrency=True), "from 1 on"),
        (lambda: Gate("all", order="lifo"), "wants 'fifo'"),  # type: ignore[arg-type]
        (lambda: Gate("all", order="fifo", on_failure="weep"), "'hold' or 'pass'"),  # type: ignore[arg-type]
        (lambda: Gate("all", concurrency=2, order="fifo"), "one at a time"),
        (lambda: Gate("{user", concurrency=1), "a brace itself"),
        (lambda: Gate("{user.name}", concurrency=1), "no plain name"),
        (lambda: send.using(gates="all"), "wants a list of gates"),  # type: ignore[typeddict-item]
        (lambda: send.using(gates=[Gate(f"{n}", concurrency=1) for n in range(9)]), "8 is the most"),
        (lambda: entries(Gate("{usr}", concurrency=1), user=1), "Did you mean 'user'"),
        (lambda: entries(Gate("1", concurrency=1), Gate("{user}", concurrency=1), user=1), "the same key"),
    ],
)
def test_what_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        make()


def test_a_declaration_that_names_no_argument_is_refused() -> None:
    with pytest.raises(TaskError, match="Did you mean 'user'"):

        @queue.task(gates=[Gate("{usr}", concurrency=1)])
        def other(user: int) -> None: ...
