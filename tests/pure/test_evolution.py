"""Versions of arguments and names of old, without a database: what is refused, and how old arguments are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq import DuplicateTask, Queue, Secret, TaskError, UnknownTask, UpcastFailed, WrongArgumentType


def same(args: dict[str, Any]) -> dict[str, Any]:
    return args


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"version": 0}, "version=0 wants a whole number from 1"),
        ({"version": True}, "version=True wants a whole number"),
        ({"version": 1001}, "version=1001 wants"),
        ({"version": "2"}, "version='2' wants"),
        ({"version": 2, "upcasts": {2: same}}, "upcasts has the version 2; wants those before version=2"),
        ({"version": 2, "upcasts": {0: same}}, "upcasts has the version 0"),
        ({"upcasts": {1: same}}, "upcasts has the version 1; wants those before version=1"),
        ({"version": 2, "upcasts": [same]}, "wants functions by version"),
        ({"version": 2, "upcasts": {1: "same"}}, r"upcasts\[1\] is 'same', which cannot be called"),
        ({"aliases": "old"}, "aliases='old' wants a list of names"),
        ({"aliases": ["send"]}, "aliases names the task itself"),
        ({"aliases": [""]}, "alias='' is empty"),
        ({"aliases": [7]}, "alias=7 is no text"),
        ({"secrets": ["card"]}, "secrets names 'card', which is no argument"),
    ],
)
def test_what_a_declaration_refuses(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TaskError, match=sentence):

        @Queue("").task(**options)
        def send(order: int) -> None: ...


def test_an_alias_is_a_name_like_any_other() -> None:
    queue = Queue("")

    @queue.task(aliases=["mail", "post"])
    def send(order: int) -> None: ...

    assert queue.registry.get("mail") is queue.registry.get("post") is queue.registry.find("send") is send
    assert "mail" in queue.registry
    assert (queue.registry.names, queue.registry.names_and_aliases) == (("send",), ("mail", "post", "send"))
    with pytest.raises(DuplicateTask, match="two tasks are called 'mail'"):

        @queue.task
        def mail() -> None: ...

    with pytest.raises(DuplicateTask, match="two tasks are called 'send'"):

        @queue.task(aliases=["send"])
        def other() -> None: ...

    with pytest.raises(UnknownTask, match="Did you mean 'mail'"):
        queue.registry.get("maill")


@given(stored=st.integers(1, 6), version=st.integers(1, 6), known=st.sets(st.integers(1, 5)))
def test_up_casters_are_applied_in_their_order_and_each_once(stored: int, version: int, known: set[int]) -> None:
    """From the stored version on, those that there are."""
    stored = min(stored, version)

    def caster(number: int) -> Any:
        return lambda args: args | {"path": [*args["path"], number]}

    queue = Queue("")

    @queue.task(version=version, upcasts={number: caster(number) for number in known if number < version})
    def send(path: list[int]) -> None: ...

    read = send.read(json.dumps({"path": []}), "default", version=stored)
    assert read == {"path": [number for number in range(stored, version) if number in known]}


def test_a_failing_up_caster_says_which() -> None:
    queue = Queue("")

    @queue.task(version=3, upcasts={1: lambda args: args["email"], 2: lambda args: [args]})  # type: ignore[dict-item]
    def send(order: int) -> None: ...

    with pytest.raises(UpcastFailed, match=r"send: the up-caster of version 1 raised KeyError\('email'\)"):
        send.read("{}", "default", version=1)
    with pytest.raises(UpcastFailed, match="of version 2 returned a list, not a dict"):
        send.read("{}", "default", version=2)


def test_what_no_longer_fits_says_which_version_it_was() -> None:
    queue = Queue("")

    @queue.task(version=3, upcasts={1: same})
    def send(order: int) -> None: ...

    with pytest.raises(WrongArgumentType, match=r"with version 2 of the arguments, and the task is at version 3\."):
        send.read('{"order": "x"}', "default", version=2)
    with pytest.raises(WrongArgumentType, match="at version 3, which the up-casters of 1 made of them"):
        send.read('{"orders": 1}', "default", version=1)


def test_what_was_secret_in_an_older_version_stays_so() -> None:
    queue = Queue("")

    def renamed(args: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(args["card"])

    @queue.task(version=2, upcasts={1: renamed}, secrets=["card"])
    def pay(card_number: Secret[str]) -> None: ...

    with pytest.raises(UpcastFailed) as caught:
        pay.read('{"card": "4111"}', "default", version=1)
    assert str(caught.value) == "pay: the up-caster of version 1 raised ValueError"
    assert caught.value.__cause__ is None
    assert pay.codec.shown({"card": "4111", "card_number": "4111", "x": 1}) == {
        "card": "[secret]", "card_number": "[secret]", "x": 1
    }  # fmt: skip
