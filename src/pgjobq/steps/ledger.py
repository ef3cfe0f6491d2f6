"""What one attempt knows of the steps of its job, and what it may do next. No input or output: it makes statements, and
reads what they gave."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from pgjobq.encryption import Keyring, is_sealed, open_sealed
from pgjobq.errors import EventTimeout, LeaseLost, StepError
from pgjobq.outcome import json_text
from pgjobq.statements import Statement
from pgjobq.statements import steps as statements
from pgjobq.statements.steps import Attempt, Memory, Met, Remembered
from pgjobq.steps.asking import Asking
from pgjobq.steps.values import LONGEST_NAME, is_name
from pgjobq.wording import quote

__all__ = ["Ledger"]

KINDS = {"step": "a step", "sleep": "a sleep", "wait": "a wait for an event"}


class Sealer(Protocol):
    """The task, as far as it matters here."""

    encryption: Keyring | None

    def seal(self, text: str, queue: str, *, part: str, name: str) -> str:
        """The text as it is stored."""


class Ledger:
    """The steps of one attempt.

    Args:
        schema, who: where, and as whom.
        task: seals values, if its payloads are sealed.
        name, queue: of the task and the queue, as the job has them.
        events: the key ring that payloads of events are sealed with.
    """

    def __init__(self, schema: str, who: Attempt, task: Sealer, name: str, queue: str, events: Keyring | None) -> None:
        self._schema, self._who = schema, who
        self._task, self._name, self._queue, self._events = task, name, queue, events
        self._memory: Memory | None = None
        self._met: set[str] = set()
        self._lock = threading.Lock()
        self.asking = Asking()
        """The sleeps and waits that are just being written down."""

    @property
    def is_known(self) -> bool:
        """Whether what earlier attempts have left was read."""
        return self._memory is not None

    def recall(self) -> Statement[Memory | None]:
        """Read it: first of all, once."""
        return statements.recall(self._schema, self._who)

    def learn(self, memory: Memory) -> None:
        """This is what they have left."""
        with self._lock:
            self._memory = self._memory or memory

    # ------------------------------------------------------------------------------------------ steps

    def meet(self, name: str, kind: str, event: str | None = None) -> Remembered | None:
        """The attempt comes to a step: what is remembered of it; None: it is to be done.

        Raises StepError: this attempt has met the name before, or it was something else in an earlier one.
        """
        assert self._memory is not None
        if not is_name(name):
            raise StepError(f"step {quote(name)}: wants a name of 1 to {LONGEST_NAME} characters")
        with self._lock:
            if name in self._met:
                raise StepError(
                    f"step {name!r}: this attempt has had a step of that name, and what it gave would be taken "
                    f"for what this one gives; name each by what it is about, such as f'{name}:{{order_id}}'"
                )
            self._met.add(name)
        found = self._memory.steps.get(name)
        if found is not None and found.kind != kind:
            raise StepError(
                f"step {name!r}: an earlier attempt has had {KINDS[found.kind]} of that name, and this is "
                f"{KINDS[kind]}; give it another name"
            )
        if found is not None and found.ended_at is None:  # a sleep or a wait that is to be looked at
            return None
        if found is not None and event is not None and found.event != event:
            raise StepError(
                f"step {name!r}: an earlier attempt has waited for the event {found.event!r} there, and this one "
                f"waits for {event!r}; give each wait a name of its own: wait_for(…, name=…)"
            )
        return found

    def remember(self, name: str, value: Any, seconds: float) -> tuple[str, Statement[bool]]:
        """What the step gave: as JSON text, and the statement that writes it down. Raises UnstorableResult."""
        text = json_text(value, f"the step {name!r} returned", "for the next attempt")
        stored = self._seal(text, f"step:{name}")
        return text, statements.remember_step(self._schema, self._who, name, stored, seconds)

    def text_of(self, name: str, found: Remembered) -> str:
        """What a step gave, as JSON text. Raises KeyMissing or CannotDecrypt."""
        return self._open(found.text, f"step:{name}")

    def sleep(self, name: str, seconds: float) -> Statement[float | None]:
        """Begin a sleep, or go on with it."""
        return statements.sleep_step(self._schema, self._who, name, seconds)

    def wait(self, name: str, event: str, seconds: float | None) -> Statement[Met]:
        """Begin to wait, or go on with it."""
        return statements.wait_step(self._schema, self._who, name, event, seconds)

    def payload_of(self, event: str, text: str) -> str:
        """What came with an event, as JSON text. Raises KeyMissing or CannotDecrypt."""
        if not is_sealed(text):
            return text
        return open_sealed(self._events, text, task="", queue="", part=f"event:{event}")

    # ------------------------------------------------------------------------------------------ checkpoint

    def checkpoint(self) -> str | None:
        """The last one, as JSON text; None: there is none."""
        assert self._memory is not None
        text = self._memory.checkpoint_text
        return None if text is None else self._open(text, "checkpoint")

    def keep(self, value: Any) -> Statement[bool]:
        """Keep another one. Raises UnstorableResult."""
        text = json_text(value, "checkpoint() was given", "for the next attempt")
        return statements.keep_checkpoint(self._schema, self._who, self._seal(text, "checkpoint"))

    # ------------------------------------------------------------------------------------------ payloads

    def _seal(self, text: str, part: str) -> str:
        return self._task.seal(text, self._queue, part=part, name=self._name)

    def _open(self, text: str, part: str) -> str:
        if not is_sealed(text):
            return text
        return open_sealed(self._task.encryption, text, task=self._name, queue=self._queue, part=part)

    # ------------------------------------------------------------------------------------------ refusals

    def lost(self) -> LeaseLost:
        """This attempt no longer holds its job."""
        return LeaseLost(
            f"job {self._who.job} ({self._name}), attempt {self._who.attempt}: this worker no longer holds it, so "
            "nothing it does may count and nothing was remembered; let this exception end the handler and roll "
            "its transactions back"
        )

    def late(self, name: str, event: str) -> EventTimeout:
        """The event has not come in time."""
        return EventTimeout(
            f"job {self._who.job} ({self._name}): the event {event!r} has not come in time. That is remembered: "
            f"catch this to go on without it, or queue.forget_steps({self._who.job}, {name!r}) to wait anew"
        )
