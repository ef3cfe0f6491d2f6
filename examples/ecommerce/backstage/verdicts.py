"""The promise, line by line: what customers remember against what is there. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .crowd import Memory
from .facts import Facts


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the table. It holds when nothing is wrong."""

    claim: str
    found: str
    wrong: tuple[str, ...] = ()
    remark: str = ""

    @property
    def holds(self) -> bool:
        return not self.wrong


def judge(memory: Memory, facts: Facts, *, stock_each: int) -> list[Verdict]:
    """Every claim, in the order in which a reader asks. `stock_each`: what lay on each shelf at the start."""
    return [
        orders_are_what_customers_remember(memory, facts),
        jobs_all_succeeded(memory, facts),
        books_hold_one_entry_each(memory, facts),
        stock_is_reserved_once(memory, facts, stock_each),
        merchants_accepted_once(memory, facts),
        emails_arrived(memory, facts),
        rolled_back_left_nothing(memory, facts),
        no_job_is_misplaced(facts),
    ]


def orders_are_what_customers_remember(memory: Memory, facts: Facts) -> Verdict:
    """Each customer has the one order that was confirmed; a double click made one; nobody complained."""
    wrong = [*memory.complaints]
    for order, visit in memory.placed.items():
        if facts.emails.get(order) != visit.email:
            wrong.append(f"order {order} of {visit.email} is not in the database")
    per_customer = Counter(facts.emails.values())
    wrong += [f"{email} has {count} orders" for email, count in per_customer.items() if count > 1]
    remembered = {visit.email for visit in memory.placed.values()} | {visit.email for visit in memory.declined}
    wrong += [f"order {order} belongs to nobody" for order, email in facts.emails.items() if email not in remembered]
    found = f"{len(facts.emails)} orders"
    return Verdict("Each checkout is one order", found, tuple(wrong), f"{memory.doubled} were double-clicked")


def jobs_all_succeeded(memory: Memory, facts: Facts) -> Verdict:
    """Each order has each task's job once, and it succeeded."""
    wrong = [
        f"job {job.id} ({job.task}, order {job.order}) is {job.state}" for job in facts.jobs if job.state != "succeeded"
    ]
    had = Counter((job.order, job.task) for job in facts.jobs)
    for order in memory.placed:
        wrong += [f"order {order} has {had[order, task]} {task} jobs" for task in facts.tasks if had[order, task] != 1]
    return Verdict("Each order's jobs are all done", f"{len(facts.jobs)} jobs", tuple(wrong))


def books_hold_one_entry_each(memory: Memory, facts: Facts) -> Verdict:
    """One journal entry per order, in balance, over the order's amount."""
    wrong = []
    for order in memory.placed:
        entries = facts.journals.get(order, [])
        if len(entries) != 1:
            wrong.append(f"order {order} has {len(entries)} entries")
        wrong += [
            f"order {order}: its entry does not balance or is over another amount"
            for entry in entries
            if sum(entry.values()) != 0 or entry.get("receivables") != facts.totals.get(order)
        ]
    count = sum(len(entries) for entries in facts.journals.values())
    return Verdict("One ledger entry each, in balance", f"{count} entries", tuple(wrong))


def stock_is_reserved_once(memory: Memory, facts: Facts, stock_each: int) -> Verdict:
    """Each order has its goods set aside; shelf plus reservations are what was there at the start."""
    wrong = [
        f"order {order}: reserved {facts.reservations.get(order, {})}, ordered {visit.basket}"
        for order, visit in memory.placed.items()
        if facts.reservations.get(order) != visit.basket
    ]
    gone: Counter[int] = Counter()
    for lines in facts.reservations.values():
        gone.update(lines)
    for shelf in facts.shelves:
        if shelf.on_hand + gone[shelf.product] != stock_each:
            sum_found = f"{shelf.on_hand} left + {gone[shelf.product]} reserved"
            wrong.append(f"product {shelf.product}: {sum_found}, but there were {stock_each}")
        if shelf.promised:
            wrong.append(f"product {shelf.product}: {shelf.promised} are still only promised")
    return Verdict("Stock is reserved once", f"{gone.total()} pieces", tuple(wrong))


def merchants_accepted_once(memory: Memory, facts: Facts) -> Verdict:
    """Each merchant of an order has accepted it once, and no other merchant has."""
    wanted = Counter(
        (facts.makers[product], order) for order, visit in memory.placed.items() for product in visit.basket
    )
    accepted = Counter((slug, order) for slug, orders in facts.accepted.items() for order in orders)
    wrong = [
        f"{slug} accepted order {order} {accepted[slug, order]} times"
        for slug, order in wanted
        if accepted[slug, order] != 1
    ]
    wrong += [
        f"{slug} accepted order {order}, which has nothing of theirs"
        for slug, order in accepted
        if (slug, order) not in wanted and order in memory.placed
    ]
    return Verdict("Each merchant accepted it once", f"{accepted.total()} acceptances", tuple(wrong))


def emails_arrived(memory: Memory, facts: Facts) -> Verdict:
    """A letter with its invoice for each order; a copy (at least once!) carries the same Message-ID."""
    wrong = []
    ids: dict[int, set[str]] = {}
    for letter in facts.letters:
        if letter.order in memory.placed:
            ids.setdefault(letter.order, set()).add(letter.message_id)
            if letter.to != memory.placed[letter.order].email:
                wrong.append(f"the letter for order {letter.order} went to {letter.to}")
            if letter.invoices != 1:
                wrong.append(f"the letter for order {letter.order} carries {letter.invoices} invoices")
    wrong += [f"order {order} got no letter" for order in memory.placed if order not in ids]
    wrong += [f"order {order} got letters with different Message-IDs" for order, known in ids.items() if len(known) > 1]
    copies = len(facts.letters) - len({letter.message_id for letter in facts.letters})
    remark = f"{copies} again (same Message-ID)" if copies else "none sent twice"
    return Verdict("Each email arrived", f"{len(facts.letters)} letters", tuple(wrong), remark)


def rolled_back_left_nothing(memory: Memory, facts: Facts) -> Verdict:
    """No order, job, entry, reservation, letter or acceptance comes from a checkout that rolled back."""
    declined = {visit.email for visit in memory.declined}
    wrong = [
        f"{email} has order {order} although it rolled back"
        for order, email in facts.emails.items()
        if email in declined
    ]
    wrong += [
        f"{letter.to} got a letter although the order rolled back" for letter in facts.letters if letter.to in declined
    ]
    for what, orders in _traces(facts):
        wrong += [
            f"{what} for order {order}, which no customer knows" for order in orders if order not in memory.placed
        ]
    return Verdict("Rolled-back orders left nothing", f"{len(declined)} declined", tuple(dict.fromkeys(wrong)))


def _traces(facts: Facts) -> Iterator[tuple[str, Iterable[int | None]]]:
    yield "a job", (job.order for job in facts.jobs)
    yield "a ledger entry", facts.journals
    yield "a reservation", facts.reservations
    yield "a letter", (letter.order for letter in facts.letters)
    for slug, orders in facts.accepted.items():
        yield f"an acceptance by {slug}", orders


def no_job_is_misplaced(facts: Facts) -> Verdict:
    """The conservation law: each job stands in exactly one table."""
    wrong = tuple(f"job {job} stands in {places}" for job, places in facts.misplaced)
    return Verdict("No job is lost or in two places", f"{len(facts.misplaced)} misplaced", wrong)
