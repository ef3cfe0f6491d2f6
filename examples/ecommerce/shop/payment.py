"""A pretended card terminal.

It stands for whatever may still go wrong at the very end of a checkout. Real payments are authorised before
the transaction and captured by a job after it; here the terminal speaks last on purpose, when order and jobs
are already written, to show that a refusal leaves neither behind.
"""

from __future__ import annotations

GOOD_CARD = "accepted"
BAD_CARD = "declined"
CARDS = {GOOD_CARD: "Test card that is accepted", BAD_CARD: "Test card that is declined at the last moment"}


class CardDeclined(Exception):
    """The bank said no."""


def authorise(card: str, amount_cents: int) -> None:
    """Ask for the amount. Raises CardDeclined."""
    if card != GOOD_CARD and amount_cents > 0:
        raise CardDeclined("Your bank declined the card. Nothing was ordered and nothing was charged.")
