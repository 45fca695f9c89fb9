"""How numbers are rounded for readers: one rule, so that every command and the report show the same digits."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal


def rounded(value: float, digits: int = 3) -> Decimal:
    """`value`, as it is written in full, with so many digits; halves away from zero, as DuckDB rounds decimals.

    Python's own formatting rounds 0.5625 to 0.562 and SQL to 0.563.
    """
    return Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def rounded_in_sql(expression: str, digits: int = 3) -> str:
    """The same as SQL of DuckDB, whose text of a number is also the shortest that means it."""
    return f"({expression})::VARCHAR::DECIMAL(12, {digits})"
