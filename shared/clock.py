"""Time as the records write it: ISO 8601, UTC, milliseconds, `Z`."""

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Write a moment as `2026-01-31T09:30:00.000Z`; such strings sort by time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """Read what `iso` wrote.

    Raises:
        ValueError: the text is no ISO 8601 moment.

    """
    return datetime.fromisoformat(text)


def later(moment: datetime, seconds: float) -> str:
    """Write the moment that lies `seconds` after `moment`."""
    return iso(moment + timedelta(seconds=seconds))
