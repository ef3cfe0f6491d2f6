"""What is there after a run: read from database, mail sink and merchants, without judging it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage

import httpx
import psycopg
from psycopg.rows import TupleRow

from ..shop.catalog import MERCHANTS
from ..shop.events import order_of
from ..shop.jobs import queue

Conn = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class JobFact:
    """One job of an order (`order` None: of none)."""

    id: int
    task: str
    order: int | None
    state: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One received email; `order` as the X-Shop-Order header says."""

    order: int | None
    to: str
    message_id: str
    invoices: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """One product: what lies on its shelf, and what of that is promised."""

    product: int
    on_hand: int
    promised: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the verdicts are about, keyed by order number where it can be."""

    emails: dict[int, str]
    totals: dict[int, int]
    jobs: list[JobFact]
    journals: dict[int, list[dict[str, int]]]
    reservations: dict[int, dict[int, int]]
    shelves: list[Shelf]
    makers: dict[int, str]
    accepted: dict[str, list[int]]
    letters: list[Letter]
    misplaced: list[tuple[int, str]]
    tasks: tuple[str, ...]


def gather(conn: Conn, letters: Iterable[EmailMessage], accepted: dict[str, list[int]]) -> Facts:
    """Read it all, in the transaction of `conn`."""
    orders = conn.execute("SELECT id, email, total_cents FROM shop.orders").fetchall()
    return Facts(
        emails={order: email for order, email, _ in orders},
        totals={order: total for order, _, total in orders},
        jobs=[
            JobFact(job, task, order_of(ref), state)
            for job, task, ref, state in conn.execute("SELECT id, task, ref, state FROM pgjobq.jobs ORDER BY id")
        ],
        journals=_journals(conn),
        reservations=_reservations(conn),
        shelves=[Shelf(*row) for row in conn.execute("SELECT id, on_hand, promised FROM shop.product ORDER BY id")],
        makers=dict(conn.execute("SELECT id, merchant FROM shop.product").fetchall()),
        accepted=accepted,
        letters=[_letter(message) for message in letters],
        misplaced=queue.misplaced(conn=conn),
        tasks=tuple(sorted(queue.registry.names)),
    )


def _journals(conn: Conn) -> dict[int, list[dict[str, int]]]:
    entries: dict[int, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for order, journal, account, cents in conn.execute(
        "SELECT j.order_id, j.id, p.account, p.amount_cents FROM shop.journal j"
        " LEFT JOIN shop.posting p ON p.journal = j.id"
    ):
        entries[order][journal][account] = cents or 0
    return {order: list(journals.values()) for order, journals in entries.items()}


def _reservations(conn: Conn) -> dict[int, dict[int, int]]:
    reserved: dict[int, dict[int, int]] = defaultdict(dict)
    for order, product, quantity in conn.execute("SELECT order_id, product, quantity FROM shop.reservation"):
        reserved[order][product] = quantity
    return dict(reserved)


def _letter(message: EmailMessage) -> Letter:
    number = re.fullmatch(r"\d+", str(message["X-Shop-Order"] or ""))
    invoices = sum(part.get_content_type() == "application/pdf" for part in message.iter_attachments())
    return Letter(int(number[0]) if number else None, str(message["To"]), str(message["Message-ID"]), invoices)


def ask_merchants(merchants_url: str) -> dict[str, list[int]]:
    """The order numbers each merchant has accepted; a number twice means that it was accepted twice."""
    with httpx.Client(base_url=merchants_url, timeout=10) as web:
        return {
            slug: [each["order"]["order"] for each in web.get(f"/{slug}/orders").raise_for_status().json()["accepted"]]
            for slug in MERCHANTS
        }
