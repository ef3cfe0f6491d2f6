"""Registry: one function a name; reloading is welcome, a second function is not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgjobq.errors import DuplicateTask, UnknownTask
from pgjobq.job import EnqueuedJob
from pgjobq.task import Call, Registry, Task


class Closed:
    """A door nobody goes through."""

    max_payload_bytes = 1_000

    def enqueue_call(self, call: Call) -> EnqueuedJob:
        raise AssertionError(call)

    async def aenqueue_call(self, call: Call) -> EnqueuedJob:
        raise AssertionError(call)


def register(registry: Registry, name: str | None = None) -> Callable[[Callable[..., Any]], Task[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        task = Task(function, Closed(), name=name)
        registry.add(task)
        return task

    return decorate


def send_confirmation() -> None: ...


def test_a_task_is_found_by_its_name() -> None:
    registry = Registry()
    task = register(registry)(send_confirmation)
    assert registry.get("send_confirmation") is task
    assert "send_confirmation" in registry
    assert "other" not in registry
    assert registry.names == ("send_confirmation",)
    assert list(registry) == [task]
    assert len(registry) == 1


def test_an_unknown_task_gets_near_names() -> None:
    registry = Registry()
    register(registry)(send_confirmation)
    register(registry, "sync_bookkeeping")(send_confirmation)
    with pytest.raises(UnknownTask) as refused:
        registry.get("send_confirmatoin")
    assert str(refused.value) == (
        "no task 'send_confirmatoin' is registered. Did you mean 'send_confirmation'? "
        "Registered: send_confirmation, sync_bookkeeping."
    )


def test_an_empty_registry_asks_for_the_import() -> None:
    with pytest.raises(UnknownTask, match="none is registered at all"):
        Registry().get("send")


@pytest.mark.parametrize("name", [None, 7, ["send"], ""])
def test_odd_names_are_unknown_like_any_other(name: Any) -> None:
    registry = Registry()
    register(registry)(send_confirmation)
    with pytest.raises(UnknownTask, match="no task"):
        registry.get(name)


def test_many_names_are_not_all_listed() -> None:
    registry = Registry()
    for number in range(50):
        register(registry, f"task_{number:02}")(send_confirmation)
    with pytest.raises(UnknownTask, match="and 30 more"):
        registry.get("zzz")


def test_two_functions_of_one_name_are_refused_with_both_places() -> None:
    registry = Registry()
    register(registry, "send")(send_confirmation)

    def other() -> None: ...

    with pytest.raises(DuplicateTask) as refused:
        register(registry, "send")(other)
    sentence = str(refused.value)
    assert f"{__name__}:send_confirmation, line" in sentence
    assert "<locals>.other, line" in sentence
    assert "@queue.task(name=…)" in sentence
    assert registry.get("send").function is send_confirmation


def test_the_same_name_written_twice_in_one_body_is_refused() -> None:
    registry = Registry()

    @register(registry)
    def send() -> int:
        return 1

    with pytest.raises(DuplicateTask):

        @register(registry)
        def send() -> int:
            return 2

    assert registry.get("send")() == 1


def test_a_factory_called_twice_replaces() -> None:
    registry = Registry()

    def declare() -> Task[..., Any]:
        @register(registry)
        def send() -> None: ...

        return send

    declare()
    second = declare()
    assert registry.get("send") is second


def test_registering_the_very_same_function_again_is_fine() -> None:
    registry = Registry()
    register(registry)(send_confirmation)
    task = register(registry)(send_confirmation)
    assert registry.get("send_confirmation") is task


MODULE = """
import {here} as here
{above}
@here.register(here.SHARED)
def notify(order_id: int) -> int:
    return {answer}
"""
SHARED = Registry()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes (and imports, or reloads) a module with one task."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "registry_under_test", sys.modules[__name__])
    monkeypatch.setattr(sys.modules[__name__], "SHARED", Registry())

    def write(source: str) -> Any:
        (tmp_path / "reloadable_tasks.py").write_text(source)
        importlib.invalidate_caches()
        if "reloadable_tasks" in sys.modules:
            return importlib.reload(sys.modules["reloadable_tasks"])
        return importlib.import_module("reloadable_tasks")

    yield write
    sys.modules.pop("reloadable_tasks", None)


def source(answer: int, above: str = "") -> str:
    return MODULE.format(here="registry_under_test", above=above, answer=answer)


def test_a_reloaded_module_replaces_its_tasks(module: Any) -> None:
    module(source(1))
    assert SHARED.get("notify")(0) == 1
    module(source(1))
    module(source(2, above="# the function has moved\n\n\n"))
    assert SHARED.get("notify")(0) == 2
    assert len(SHARED) == 1


def test_a_module_with_the_name_twice_is_refused(module: Any) -> None:
    twice = source(1) + source(2)
    with pytest.raises(DuplicateTask, match="reloadable_tasks:notify, line 4 and reloadable_tasks:notify, line"):
        module(twice)
