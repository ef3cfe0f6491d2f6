"""The floor: one table, history kept, thin psycopg code and no library around it.

Claim with FOR UPDATE SKIP LOCKED, complete by UPDATE. The completion of one batch and the claim of the next travel in
one pipeline as one transaction, which is what makes such code quick. No retries, no leases, no errors, no time-outs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import desk
import psycopg

BATCH = 200

SCHEMA = """
CREATE TABLE raw_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz, finished_at timestamptz,
    state smallint NOT NULL DEFAULT 0,
    args jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX raw_job_ready ON raw_job (id) WHERE state = 0;
"""
ENQUEUE = """
WITH job AS (INSERT INTO raw_job (args) VALUES (%s::jsonb) RETURNING id)
SELECT id, pg_notify('raw_job', '') FROM job
"""
CLAIM = """
UPDATE raw_job SET state = 1, started_at = statement_timestamp() WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM raw_job WHERE state = 0 ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING id, args::text
"""
COMPLETE = "UPDATE raw_job SET state = 2, finished_at = statement_timestamp() WHERE id = ANY (%s::bigint[])"
PLANS = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"


class Raw(desk.Driver):
    async def prepare(self) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(SCHEMA)

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        with psycopg.connect(self.dsn, autocommit=True, prepare_threshold=0) as connection:

            async def send(order: int) -> None:
                connection.execute(ENQUEUE, (json.dumps(desk.payload(order)),)).fetchone()

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        with psycopg.connect(self.dsn) as connection:

            async def fill(orders: range) -> None:
                with connection.cursor().copy("COPY raw_job (args) FROM STDIN") as copy:
                    for start in range(0, len(orders), 1000):
                        part = orders[start : start + 1000]
                        copy.write("".join(f'{{"order_id": {order}, "email": "{desk.EMAIL}"}}\n' for order in part))
                connection.execute("NOTIFY raw_job")
                connection.commit()

            yield fill

    async def work(self) -> None:
        connection = psycopg.connect(self.dsn, autocommit=True, prepare_threshold=0, options=PLANS)
        connection.execute("LISTEN raw_job")
        loads, done = json.loads, ""
        desk.ready()
        while True:
            claimed = _exchange(connection, done, BATCH)
            if not claimed:
                done = ""
                list(connection.notifies(timeout=1.0, stop_after=1))
                continue
            for _, args in claimed:
                await desk.handle(**loads(args))
            done = "{" + ",".join([str(job) for job, _ in claimed]) + "}"


def _exchange(connection: psycopg.Connection[Any], done: str, batch: int) -> list[Any]:
    with connection.pipeline():
        if done:
            connection.execute(COMPLETE, (done,))
        return connection.execute(CLAIM, (batch,), binary=True).fetchall()


if __name__ == "__main__":
    desk.main(Raw)
