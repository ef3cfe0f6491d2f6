"""The doors of a Queue to what attempts remember: steps, and the events that jobs wait for."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import msgspec

from pgjobq.doors import Doors
from pgjobq.durations import to_seconds
from pgjobq.encryption import MEMBER, open_sealed
from pgjobq.errors import InvalidOption
from pgjobq.job import Job, Step
from pgjobq.outcome import json_text
from pgjobq.statements import Statement
from pgjobq.statements import jobs as lookup
from pgjobq.statements import steps as statements
from pgjobq.steps import LONGEST_NAME, is_name
from pgjobq.wording import quote

__all__ = ["Durable"]


class Durable(Doors):
    """The half of `Queue` that steps and events need; a handler takes steps with `current_job()`."""

    def emit(
        self, event: str, payload: Any = None, *, keep: float | timedelta = timedelta(days=30), conn: object = None
    ) -> bool:
        """Let an event happen: the jobs that wait for it go on, within milliseconds of the commit.

        It is remembered, so that a wait which begins later returns at once; a second one of the same name changes
        nothing. Nobody ever waits for a transaction that emits.

        Args:
            event: its name, 1 to 255 characters, such as `order:42:paid`.
            payload: what JSON can hold, up to 1 MiB; sealed if the queue has a key ring.
            keep: seconds (or a timedelta) for which it is remembered; an event that a job waits for is kept until it
                has it.
            conn: the connection whose transaction this joins; None: one of our own.

        Returns:
            False when an event of this name has happened already: the first one stands. Of two that are emitted at the
            same time one is met first and stands, the same for every job; both calls return True.

        Raises:
            InvalidOption: the name or `keep` cannot be used. UnstorableResult: the payload is not JSON, or too large.
        """
        return self._run(self._emission(event, payload, keep), conn)

    async def aemit(
        self, event: str, payload: Any = None, *, keep: float | timedelta = timedelta(days=30), conn: object = None
    ) -> bool:
        """The async twin of `emit`."""
        return await self._arun(self._emission(event, payload, keep), conn)

    def steps(self, job: int, *, decrypt: bool = False, conn: object = None) -> list[Step]:
        """What the attempts of a job have done for good and what it waits for, first thing first.

        `decrypt`: with values opened, if they are sealed. Raises KeyMissing or CannotDecrypt then.
        """
        found = self._run(statements.steps(self.schema, job), conn)
        return self._opened(self._run(lookup.get(self.schema, job), conn), found) if decrypt else found

    async def asteps(self, job: int, *, decrypt: bool = False, conn: object = None) -> list[Step]:
        """The async twin of `steps`."""
        found = await self._arun(statements.steps(self.schema, job), conn)
        return self._opened(await self._arun(lookup.get(self.schema, job), conn), found) if decrypt else found

    def forget_steps(self, job: int, name: str | None = None, *, by: str | None = None, conn: object = None) -> int:
        """Forget the step of this name, so that the next attempt does it anew; None: all steps, and the checkpoint.

        Gives how many steps were forgotten. An attempt that runs goes on with what it knows. `by`: who wants this, for
        the audit; None: the database's role.
        """
        return self._run(statements.forget_steps(self.schema, job, name, by), conn)

    async def aforget_steps(
        self, job: int, name: str | None = None, *, by: str | None = None, conn: object = None
    ) -> int:
        """The async twin of `forget_steps`."""
        return await self._arun(statements.forget_steps(self.schema, job, name, by), conn)

    def _emission(self, event: str, payload: Any, keep: float | timedelta) -> Statement[bool]:
        if not is_name(event):
            raise InvalidOption(f"emit({quote(event)}): wants a name of 1 to {LONGEST_NAME} characters.")
        seconds = to_seconds(keep)
        if not seconds:
            raise InvalidOption(f"emit(keep={quote(keep)}): wants seconds or a timedelta, above 0 and up to 100 years.")
        text = None if payload is None else json_text(payload, f"emit({quote(event)}) was given", "as its payload")
        if text is not None and self.encryption is not None:
            text = self.encryption.seal(text, task="", queue="", part=f"event:{event}")
        return statements.emit(self.schema, event, text, seconds)

    def _opened(self, job: Job | None, found: list[Step]) -> list[Step]:
        if job is None:
            return found
        ring = self.encryption
        if job.task in self.registry:
            ring = self.registry.get(job.task).encryption or ring

        def opened(step: Step) -> Step:
            if not isinstance(step.value, dict) or MEMBER not in step.value:
                return step
            sealed = msgspec.json.encode(step.value).decode()
            if step.kind == "wait":
                text = open_sealed(self.encryption, sealed, task="", queue="", part=f"event:{step.event}")
            else:
                text = open_sealed(ring, sealed, task=job.task, queue=job.queue, part=f"step:{step.name}")
            return dataclasses.replace(step, value=msgspec.json.decode(text))

        return [opened(step) for step in found]
