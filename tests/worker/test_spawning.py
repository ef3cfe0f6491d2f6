"""What is raised in a handler's thread does not meet a thread that it has just started."""

from __future__ import annotations

from worker.stage import Stage


def test_a_handler_that_starts_threads_is_interrupted(stage: Stage) -> None:
    """Python 3.11 knows a thread by its starter's ident until it runs. Hit in the starter's stead it never begins, the
    starter waits for it for ever, and the worker is left with a handler that nothing ends: of ten three were."""
    worker = stage.worker("--concurrency", "2", app="apps.spawning:queue").ready()
    jobs = [stage.enqueue("spawn", max_attempts=1) for _ in range(40)]
    stage.wait_all("failed")
    assert all("TimeoutError" in stage.job(job)["reason"] for job in jobs)
    assert worker.events("jobs_overdue") == worker.events("process_died") == []
    assert worker.stop() == 0
    assert "Exception ignored" not in worker.text
