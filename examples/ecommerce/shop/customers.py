"""What a customer has to tell us, and what we say when it cannot be used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_EMAIL = re.compile(r"[^@\s<>,;:\"()]+@[^@\s<>,;:\"()]+\.[^@\s<>,;:\"().]+")


@dataclass(frozen=True, slots=True)
class Customer:
    """Who orders, and where it goes."""

    name: str
    email: str
    address: str


def parse_customer(form: Mapping[str, str]) -> tuple[Customer, dict[str, str]]:
    """Read a checkout form: the customer as typed, and a sentence for each field that cannot be used."""
    name, email, address = (form.get(field, "").strip() for field in ("name", "email", "address"))
    wrong: dict[str, str] = {}
    if not 1 <= len(name) <= 100 or _unprintable(name):
        wrong["name"] = "Please tell us your name, in at most 100 characters on one line."
    if len(email) > 254 or not email.isascii() or not _EMAIL.fullmatch(email):
        wrong["email"] = "That does not look like an email address. Example: ada@example.com"
    if not 5 <= len(address) <= 500 or _unprintable(address.replace("\r", "").replace("\n", "")):
        wrong["address"] = "Please give a street and a town, in 5 to 500 characters."
    return Customer(name, email, address.replace("\r\n", "\n")), wrong


def _unprintable(text: str) -> bool:
    # A line break in a name would be a header injection in the email; a NUL cannot be stored.
    return any(not char.isprintable() for char in text)
