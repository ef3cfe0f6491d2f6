"""The demo's checks can fail: each way of breaking a promise turns its own line red, and no other."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psycopg
import pytest
from examples.ecommerce.backstage.crowd import Crowd, Memory, Visit
from examples.ecommerce.backstage.facts import ask_merchants, gather
from examples.ecommerce.backstage.verdicts import Verdict, judge
from examples.ecommerce.mailbox import read_letters
from examples.ecommerce.shop.payment import BAD_CARD
from psycopg.rows import TupleRow

from e2e.street import Street

VISITS = [
    Visit("a@example.com", {1: 1, 4: 2}),
    Visit("b@example.com", {2: 3}, clicks=2),
    Visit("c@example.com", {7: 1}, card=BAD_CARD),
    Visit("d@example.com", {10: 1, 4: 1}),
]


@dataclass
class World:
    """Four customers' orders, carried out; and the verdicts on what is there now."""

    street: Street
    memory: Memory
    conn: psycopg.Connection[TupleRow]
    letters: Path

    def judge(self) -> dict[str, Verdict]:
        facts = gather(self.conn, read_letters(self.letters), ask_merchants(self.street.merchants_url))
        return {verdict.claim: verdict for verdict in judge(self.memory, facts, stock_each=1000)}

    @property
    def red(self) -> set[str]:
        return {claim for claim, verdict in self.judge().items() if not verdict.holds}

    @contextlib.contextmanager
    def parallel(self) -> Iterator[World]:
        """The same world to be doctored: what is done to its rows, letters and memory is undone at the end."""
        with tempfile.TemporaryDirectory() as folder, self.conn.transaction(force_rollback=True):
            letters = Path(shutil.copytree(self.letters, folder, dirs_exist_ok=True))
            yield World(self.street, copy.deepcopy(self.memory), self.conn, letters)

    def sql(self, statement: str) -> None:
        assert self.conn.execute(statement).rowcount > 0, f"doctored nothing: {statement}"

    @property
    def letter(self) -> Path:
        return min(self.letters.glob("*.eml"))

    def number_of(self, email: str) -> int:
        return next(order for order, visit in self.memory.placed.items() if visit.email == email)


@pytest.fixture
def world(street: Street, work: Callable[..., None]) -> Iterator[World]:
    memory = asyncio.run(Crowd(street.shop_url, VISITS, pace=100).come())
    work()
    with psycopg.connect(street.dsn, autocommit=True) as conn:
        world = World(street, memory, conn, street.letters)
        assert world.red == set()
        yield world


ORDERS, JOBS, BOOKS = (
    "Each checkout is one order",
    "Each order's jobs are all done",
    "One ledger entry each, in balance",
)
STOCK, MERCHANTS, EMAILS = "Stock is reserved once", "Each merchant accepted it once", "Each email arrived"
ROLLED_BACK, LAW = "Rolled-back orders left nothing", "No job is lost or in two places"

FIRST = "(SELECT min(id) FROM shop.orders)"


def accept_again(world: World, merchant: str, order: int) -> None:
    answer = httpx.post(
        f"{world.street.merchants_url}/{merchant}/orders",
        json={"order": order, "lines": [{"product": "x", "quantity": 1}]},
        headers={"Idempotency-Key": f"made up for {merchant} and {order}"},
    )
    assert answer.status_code == 201


def rewrite(world: World, old: bytes, new: bytes) -> None:
    content = world.letter.read_bytes()
    assert old in content
    world.letter.write_bytes(content.replace(old, new))


def copy_letter(world: World) -> None:
    (world.letter.parent / "999999.eml").write_bytes(world.letter.read_bytes())


def send_to_declined(world: World) -> None:
    copy_letter(world)
    letter = world.letter.parent / "999999.eml"
    letter.write_bytes(re.sub(rb"(?m)^To: \S+", b"To: c@example.com", letter.read_bytes()))


def write_letter_id(world: World) -> None:
    copy_letter(world)
    rewrite(world, b"-confirmation@", b"-another@")


DOCTORS: list[tuple[str, Callable[[World], object], set[str]]] = [
    (
        "an order's customer changed",
        lambda w: w.sql(f"UPDATE shop.orders SET email = 'x@example.com' WHERE id = {FIRST}"),
        {ORDERS},
    ),
    (
        "a second order for one customer",
        lambda w: w.sql("UPDATE shop.orders SET email = 'a@example.com' WHERE email = 'b@example.com'"),
        {ORDERS},
    ),
    ("a customer complained", lambda w: w.memory.complaints.append("no answer"), {ORDERS}),
    (
        "an order that a customer remembers is gone",
        lambda w: w.memory.placed.update({99: Visit("z@example.com", {1: 1})}),
        {ORDERS, JOBS, BOOKS, STOCK, MERCHANTS, EMAILS},
    ),
    (
        "a job failed",
        lambda w: w.sql("UPDATE pgjobq.finished SET outcome = 'f' WHERE job = (SELECT min(job) FROM pgjobq.finished)"),
        {JOBS},
    ),
    (
        "a job still waits",
        lambda w: w.sql(
            "WITH d AS (DELETE FROM pgjobq.finished WHERE job = (SELECT max(job) FROM pgjobq.finished) RETURNING job)"
            " INSERT INTO pgjobq.ready (seq, job, priority, queue)"
            " SELECT j.id, j.id, j.priority, j.queue FROM d JOIN pgjobq.job j ON j.id = d.job"
        ),
        {JOBS},
    ),
    (
        "a job of an order is missing",
        lambda w: w.sql("UPDATE pgjobq.job SET ref = NULL WHERE id = (SELECT min(id) FROM pgjobq.job)"),
        {JOBS, ROLLED_BACK},
    ),
    (
        "an entry is missing",
        lambda w: (
            w.sql("DELETE FROM shop.posting WHERE journal = (SELECT min(id) FROM shop.journal)"),
            w.sql("DELETE FROM shop.journal WHERE id = (SELECT min(id) FROM shop.journal)"),
        ),
        {BOOKS},
    ),
    (
        "an entry was written twice",
        lambda w: w.sql(
            "WITH again AS (INSERT INTO shop.journal (order_id) SELECT min(order_id) FROM shop.journal"
            " RETURNING id, order_id) INSERT INTO shop.posting SELECT again.id, p.account, p.amount_cents"
            " FROM again JOIN shop.journal j ON j.order_id = again.order_id JOIN shop.posting p ON p.journal = j.id"
        ),
        {BOOKS},
    ),
    (
        "an entry does not balance",
        lambda w: w.sql("UPDATE shop.posting SET amount_cents = amount_cents - 1 WHERE account = 'sales'"),
        {BOOKS},
    ),
    (
        "an entry is over another amount",
        lambda w: w.sql("UPDATE shop.posting SET amount_cents = amount_cents * 2"),
        {BOOKS},
    ),
    ("a reservation is missing", lambda w: w.sql(f"DELETE FROM shop.reservation WHERE order_id = {FIRST}"), {STOCK}),
    ("too much is reserved", lambda w: w.sql("UPDATE shop.reservation SET quantity = quantity + 1"), {STOCK}),
    ("stock was taken twice", lambda w: w.sql("UPDATE shop.product SET on_hand = on_hand - 2 WHERE id = 4"), {STOCK}),
    ("stock stays promised", lambda w: w.sql("UPDATE shop.product SET promised = 1 WHERE id = 12"), {STOCK}),
    ("a letter is missing", lambda w: w.letter.unlink(), {EMAILS}),
    ("a letter went astray", lambda w: rewrite(w, b"@example.com", b"@example.org"), {EMAILS}),
    ("a letter lacks its invoice", lambda w: rewrite(w, b"application/pdf", b"application/zip"), {EMAILS}),
    ("a second letter has an id of its own", write_letter_id, {EMAILS}),
    ("a declined customer got a letter", send_to_declined, {EMAILS, ROLLED_BACK}),
    (
        "a declined customer has an order",
        lambda w: w.sql(f"UPDATE shop.orders SET email = 'c@example.com' WHERE id = {FIRST}"),
        {ORDERS, ROLLED_BACK},
    ),
    (
        "a rolled-back order has a job",
        lambda w: w.sql("SELECT pgjobq.enqueue('sync_bookkeeping', '{\"order_id\": 888}', ref => 'order:888')"),
        {JOBS, ROLLED_BACK},
    ),
]


def test_each_broken_promise_shows(world: World) -> None:
    for name, doctor, red in DOCTORS:
        with world.parallel() as doctored:
            doctor(doctored)
            assert doctored.red == red, name
        assert world.red == set(), f"{name}: was not undone"


def test_what_merchants_should_not_have_accepted_shows(world: World) -> None:
    accept_again(world, "press", 777)
    assert world.red == {ROLLED_BACK}, "an order that does not exist"


@pytest.mark.parametrize("merchant", ["kiln", "press"], ids=["twice", "what is not its own"])
def test_what_a_merchant_accepted_wrongly_shows(world: World, merchant: str) -> None:
    accept_again(world, merchant, world.number_of("b@example.com"))
    assert world.red == {MERCHANTS}


def test_a_misplaced_job_shows(world: World) -> None:
    with world.parallel() as doctored:
        doctored.sql(
            "INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)"
            " SELECT min(job), now(), gen_random_uuid(), 1, 0 FROM pgjobq.finished"
        )
        assert LAW in doctored.red


def test_a_copy_with_the_same_message_id_is_counted_not_wrong(world: World) -> None:
    copy_letter(world)
    verdict = world.judge()[EMAILS]
    assert verdict.holds
    assert verdict.found == "4 letters"
    assert verdict.remark == "1 again (same Message-ID)"


def test_every_claim_has_a_doctor(world: World) -> None:
    covered: set[str] = set().union(*(red for *_, red in DOCTORS)) | {LAW}
    assert set(world.judge()) == covered


def test_a_lost_reply_is_a_complaint(street: Street) -> None:
    visits = [replace(VISITS[0], basket={999: 1})]
    memory = asyncio.run(Crowd(street.shop_url, visits, pace=100).come())
    assert memory.placed == {}
    assert len(memory.complaints) == 1
    assert "/basket answered 400" in memory.complaints[0]
