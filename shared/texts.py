"""Texts of strangers, as they may be kept and told: short, and without secrets.

A vendor's message may quote the API key, or a presigned URL with its signature, and may be as long
as the vendor likes. It is cleaned once, where it comes in (shared/vmake/wire.py).
"""

import json
import re
from typing import Final
from urllib.parse import quote

MAX_TEXT_BYTES: Final = 600
"""As JSON. `error.message` holds 1,000 characters: the advice behind the vendor's words fits in."""
_MAX_CHARACTERS: Final = 4_096
"""Only so much of a text is searched for URLs; a search of a whole megabyte could take minutes."""
REDACTED: Final = "[API key]"
"""Stands where the API key stood."""
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE)
_SIGNATURE: Final = re.compile(
    r"((?:X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature)(?:=|%3D))[^\s&\"'<>]+", re.IGNORECASE
)
"""A signature is also found in a URL without its scheme, or in a query by itself."""


def cleaned(text: str, *, hidden: str) -> str:
    """Return a text without the API key, without the queries of URLs, and cut short.

    Args:
        text: written by a stranger.
        hidden: the API key.

    """
    return shortened(without_queries(without_key(text, hidden)[:_MAX_CHARACTERS]), MAX_TEXT_BYTES)


def without_key(text: str, hidden: str) -> str:
    """Return a text with each occurrence of the API key replaced."""
    for spelling in (hidden, quote(hidden, safe="")):
        text = text.replace(spelling, REDACTED)
    return text


def without_queries(text: str) -> str:
    """Return a text whose URLs end before their query: it may hold a signature."""
    return _SIGNATURE.sub(r"\1…", _QUERY.sub(r"\1", text))


def json_bytes(text: str) -> int:
    """Return how many bytes a text takes in JSON at most, its quotes left out.

    Python's own JSON writes what is not ASCII as an escape. No other way to write it is longer.
    """
    return len(json.dumps(text)) - 2


def shortened(text: str, limit: int) -> str:
    """Return a text, cut so that it takes at most so many bytes in JSON."""
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
