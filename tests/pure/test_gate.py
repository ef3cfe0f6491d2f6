"""Gates: what they refuse, and the keys they make."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from pgjobq import Gate, InvalidOption, Queue, Quota, Rate, Secret, TaskError

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


@pytest.mark.parametrize(
    ("rate", "entry"),
    [
        ("10/s", {"limit": 10, "per": 1.0}),
        ("100 / min", {"limit": 100, "per": 60.0}),
        ("5/2h", {"limit": 5, "per": 7200.0}),
        ("7/day", {"limit": 7, "per": 86400.0}),
        (Rate(3, per=timedelta(milliseconds=500), burst=2), {"limit": 3, "per": 0.5, "burst": 2}),
    ],
)
def test_a_rate(rate: Rate | str, entry: dict[str, Any]) -> None:
    (made,) = entries(Gate("all", rate=rate), user=7)
    assert made == {"key": "all", "rate": entry}


@pytest.mark.parametrize(
    ("quota", "entry"),
    [
        ("1000/day", {"limit": 1000, "per": "day"}),
        ("50/h", {"limit": 50, "per": 3600}),
        ("2/30s", {"limit": 2, "per": 30}),
        (Quota(9, per="month", tz="Europe/Paris"), {"limit": 9, "per": "month", "tz": "Europe/Paris"}),
        (Quota(9, per=timedelta(hours=1)), {"limit": 9, "per": 3600}),
    ],
)
def test_a_quota(quota: Quota | str, entry: dict[str, Any]) -> None:
    (made,) = entries(Gate("all", quota=quota), user=7)
    assert made == {"key": "all", "quota": entry}


def test_shares_and_their_weights() -> None:
    gate = Gate("mail", fair="{user}", weights={"7": 3})
    assert entries(gate, user=7) == [{"key": "mail", "share": "7", "weight": 3}]
    assert entries(gate, user=8) == [{"key": "mail", "share": "8"}]
    (long,) = entries(Gate("mail", fair="{mail}"), user=7, mail="")
    assert long["share"].startswith("sha256:"), "an empty text is a share of its own"
    (odd,) = entries(Gate("{mail}", concurrency=1), user=7, mail="a\x1fb")
    assert odd["key"].startswith("sha256:")


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
        (lambda: Gate("all", concurrency=2, on_failure="pass"), "without order='fifo'"),
        (lambda: Gate("all", concurrency=2, order="fifo"), "one at a time"),
        (lambda: Gate("all", rate="10"), "such as '10/s'"),
        (lambda: Gate("all", rate="10/ms"), "such as '10/s'"),
        (lambda: Gate("all", rate=10), "such as '10/s'"),  # type: ignore[arg-type]
        (lambda: Rate(0), "limit=0"),
        (lambda: Rate(1, per=0), "per=0"),
        (lambda: Rate(1, per=True), "per=True"),
        (lambda: Rate(1, burst=0), "burst=0"),
        (lambda: Rate(2_000_000), "a million in a second"),
        (lambda: Gate("all", quota="10/year"), "such as '1000/day'"),
        (lambda: Gate("all", quota="10/2day s"), "such as '1000/day'"),
        (lambda: Quota(1, per="year"), "per='year'"),
        (lambda: Quota(1, per=1.5), "whole seconds"),
        (lambda: Quota(1, tz="Europe/Pairs"), "Did you mean 'Europe/Paris'"),
        (lambda: Quota(1, per=60, tz="UTC"), "begins in a time zone"),
        (lambda: Gate("all", fair="tenant"), "such as '{tenant}'"),
        (lambda: Gate("all", fair="{user}", order="fifo"), "exclude each other"),
        (lambda: Gate("all", concurrency=1, weights={"a": 1}), "of what"),
        (lambda: Gate("all", fair="{user}", weights={"a": 0}), "from 1 to 9,999"),
        (lambda: entries(Gate("all", fair="{usr}"), user=1), "Did you mean 'user'"),
        (lambda: queue.set_gate("all"), "sets nothing"),
        (lambda: queue.set_gate("", concurrency=1), "1 to 255"),
        (lambda: queue.set_gate("all", concurrency=-1), "from 0 on"),
        (lambda: queue.set_gate("all", weights={"a": 0}), "from 1 to 9,999"),
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
