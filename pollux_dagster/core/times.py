"""How times are written for people: 2026-11-27 06:41 UTC. Programs get ISO 8601 with an offset (`isoformat`)."""

from __future__ import annotations

from datetime import UTC, datetime


def shown(time: datetime) -> str:
    """A time with an offset, to the minute, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def shown_in_sql(column: str) -> str:
    """The SQL expression with the text of `shown` for a column of type TIMESTAMP WITH TIME ZONE."""
    return f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M UTC')"
