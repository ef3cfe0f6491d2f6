"""A stored job for people to look at: secrets stay hidden, and what is encrypted opens only when asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from pgjobq.encryption import MEMBER, Keyring, open_sealed
from pgjobq.job import Job
from pgjobq.task.registry import Registry

__all__ = ["opened", "shown"]


def shown(job: Job, registry: Registry) -> Job:
    """The job without the values of arguments that its task declares as secret."""
    if job.task not in registry or MEMBER in job.args:
        return job
    codec = registry.get(job.task).codec
    return dataclasses.replace(job, args=codec.shown(job.args)) if codec.hides_any else job


def opened(job: Job, registry: Registry, ring: Keyring | None) -> Job:
    """The job with its arguments and its result opened, if they are sealed; `ring` serves tasks not registered here.

    Raises KeyMissing or CannotDecrypt.
    """
    if job.task in registry:
        ring = registry.get(job.task).encryption or ring
    return dataclasses.replace(
        job, args=_opened(job.args, job, ring, "args"), result=_opened(job.result, job, ring, "result")
    )


def _opened(value: Any, job: Job, ring: Keyring | None, part: str) -> Any:
    if not isinstance(value, dict) or MEMBER not in value:
        return value
    sealed = msgspec.json.encode(value).decode()
    return msgspec.json.decode(open_sealed(ring, sealed, task=job.task, queue=job.queue, part=part))
