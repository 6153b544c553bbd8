"""Moments in the format of the records: ISO 8601, UTC, milliseconds, `Z`."""

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Format a moment as `2026-01-31T09:30:00.000Z`; such strings sort by time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """Parse an ISO 8601 moment.

    Raises:
        ValueError: the text is none.

    """
    return datetime.fromisoformat(text)


def later(moment: datetime, seconds: float) -> str:
    """Format the moment that is `seconds` after `moment`."""
    return iso(moment + timedelta(seconds=seconds))
