"""Races made on purpose: a trigger that waits, inside one session's statement, until the test opens the gate."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from sql.support.hand import Hand
from support.waiting import eventually

__all__ = ["Gate", "Running", "gate_of", "starts"]

KEY = 4711
# Only sessions that ask for it (SET gate.at = 'before ready') wait here.
INSTALL = """
CREATE FUNCTION public.gate_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('gate.at', true) = 'before ' || TG_TABLE_NAME THEN
        PERFORM pg_advisory_xact_lock_shared(4711);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.gate_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('gate.at', true) = 'after ' || TG_TABLE_NAME AND EXISTS (SELECT FROM gone) THEN
        PERFORM pg_advisory_xact_lock_shared(4711);
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['ready', 'running', 'scheduled', 'blocked', 'finished'] LOOP
        EXECUTE format('CREATE TRIGGER gate_before BEFORE DELETE ON pgjobq.%I
                        EXECUTE FUNCTION public.gate_before()', name);
        EXECUTE format('CREATE TRIGGER gate_after AFTER DELETE ON pgjobq.%I REFERENCING OLD TABLE AS gone
                        EXECUTE FUNCTION public.gate_after()', name);
    END LOOP;
END $$;
"""


class Running:
    """Something that runs in a thread; `result` waits for it and raises what it raised."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._answer: list[Any] = []
        self._error: BaseException | None = None
        self._action = action
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._action())
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What the action gave."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "it still waits"
        if self._error is not None:
            raise self._error
        return self._answer[0]


class Gate:
    """The gate, closed as long as the test holds its lock."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self._conn.execute(INSTALL)
        self.close()

    def close(self) -> None:
        """From now on sessions wait at it."""
        self._conn.execute("SELECT pg_advisory_lock(%s)", [KEY])

    def open(self) -> None:
        """Let everybody through."""
        self._conn.execute("SELECT pg_advisory_unlock(%s)", [KEY])

    def stop(self, hand: Hand, at: str, action: Callable[[], Any]) -> Running:
        """Start the action in a thread; returns once its statement stands at the gate.

        `at`: "before ready": its snapshot is taken, nothing has been looked at; "after ready": it has deleted its rows
        there, and holds them.
        """
        hand.sql("SELECT set_config('gate.at', $1, false)", at)
        running = Running(action)
        self.wait_for(hand, "advisory")
        return running

    def wait_for(self, hand: Hand, event: str) -> None:
        """Until the hand's session waits for a lock of this kind (advisory, transactionid, tuple)."""
        query = "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE pid = %s"

        def waits() -> bool:
            return self._conn.execute(query, [hand.pid]).fetchone() == ("Lock", event)

        eventually(waits)


@contextlib.contextmanager
def gate_of(dsn: str) -> Iterator[Gate]:
    """The gate of a database, closed."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield Gate(conn)


def starts(action: Callable[[], Any]) -> Running:
    """Run it in a thread."""
    return Running(action)
