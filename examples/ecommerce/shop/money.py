"""Amounts are whole cents; prices include the tax."""

from __future__ import annotations

VAT_PERCENT = 20


def show_money(cents: int) -> str:
    """`123456` → `€1,234.56`; a negative amount carries its sign before the currency."""
    sign = "−" if cents < 0 else ""
    return f"{sign}€{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def tax_within(gross_cents: int) -> int:
    """The tax contained in a gross amount, rounded half up to whole cents."""
    return (gross_cents * VAT_PERCENT * 2 + (100 + VAT_PERCENT)) // (2 * (100 + VAT_PERCENT))
