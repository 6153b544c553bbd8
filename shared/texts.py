"""Cleans the vendor's texts: they are cut short, and secrets are removed.

A vendor's message may quote the API key or a presigned URL with its signature, and may have any
length. It is cleaned once, when it is received (shared/vmake/wire.py).
"""

import json
import re
from typing import Any, Final
from urllib.parse import quote

MAX_TEXT_BYTES: Final = 600
"""As JSON. `error.message` holds 1,000 characters, which leaves room for the advice."""
_MAX_CHARACTERS: Final = 4_096
"""Only the beginning of a text is searched for URLs. Searching a megabyte could take minutes."""
REDACTED: Final = "[API key]"
"""Replaces the API key."""
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE)
_SIGNATURE: Final = re.compile(
    r"((?:X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature)(?:=|%3D))[^\s&\"'<>]+", re.IGNORECASE
)
"""Also finds a signature in a URL without a scheme, or in a query alone."""


def cleaned(text: str, *, hidden: str) -> str:
    """Return a text without the API key and the queries of URLs, of at most `MAX_TEXT_BYTES`.

    Args:
        text: the vendor's text.
        hidden: the API key.

    """
    return shortened(without_queries(without_key(text, hidden)[:_MAX_CHARACTERS]), MAX_TEXT_BYTES)


def without_key(text: str, hidden: str) -> str:
    """Return a text with each occurrence of the API key replaced."""
    for spelling in (hidden, quote(hidden, safe="")):
        text = text.replace(spelling, REDACTED)
    return text


def json_without_key(value: Any, hidden: str) -> Any:  # noqa: ANN401  any JSON
    """Return a JSON value with the API key replaced in all of its texts."""
    if isinstance(value, str):
        return without_key(value, hidden)
    if isinstance(value, list):
        return [json_without_key(entry, hidden) for entry in value]
    if isinstance(value, dict):
        return {name: json_without_key(entry, hidden) for name, entry in value.items()}
    return value


def without_queries(text: str) -> str:
    """Return a text without the queries of its URLs, since a query may hold a signature."""
    return _SIGNATURE.sub(r"\1…", _QUERY.sub(r"\1", text))


def json_bytes(text: str) -> int:
    """Return how many bytes a text takes in JSON at most, without the quotes.

    Python's `json` escapes everything that is not ASCII. No other JSON encoding is longer.
    """
    return len(json.dumps(text)) - 2


def shortened(text: str, limit: int) -> str:
    """Return the beginning of a text that takes at most `limit` bytes in JSON."""
    if len(text) <= limit and json_bytes(text) <= limit:
        return text
    ending = "…"
    room = limit - json_bytes(ending)
    kept = 0
    for character in text[:limit]:
        room -= json_bytes(character)
        if room < 0:
            break
        kept += 1
    return text[:kept] + ending
