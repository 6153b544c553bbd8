"""What somebody wishes on the command line, in the words of metadata and catwalk.json."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.charset import BASE64, Charset
from email.header import Header
from typing import Any, Final

from cli.errors import CommandError
from shared.clock import iso
from shared.models import SceneType
from shared.vmake import catalogue

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNFOLDED: Final = 100_000
"""Characters of a header line: metadata must not be folded."""
_COLOR: Final = re.compile(r"#?[0-9a-fA-F]{6}")


def model_id(wish: str) -> str:
    """Return a model's id, be it given by its name or as the id.

    Raises:
        CommandError: it is empty, no id at all, or nearly a known id or name.

    """
    if not wish.strip():
        names = ", ".join(catalogue.MODEL_IDS)
        raise CommandError("--model is empty.", f"Name one: {names}, or an id.")
    try:
        return catalogue.model_id(wish)
    except catalogue.NoSuchIdError as error:
        raise CommandError(
            f"There is no model {wish.strip()!r}.", _meant(error.suggestion)
        ) from error


def _meant(model: str | None) -> str:
    if model is None:
        names = ", ".join(catalogue.MODEL_IDS)
        return f"Name one ({names}), or an id of letters, digits and . _ -"
    return f"Did you mean {catalogue.MODELS[model].casefold()!r} ({model})?"


def scene(wish: str) -> dict[str, str]:
    """Return the settings of a scene: `original`, `none`, `preset:035`, `color:#f4e9dd`.

    Raises:
        CommandError: it is none of these.

    """
    kind, found, value = wish.strip().partition(":")
    if not found and "-" in kind:
        # As result keys have it: preset-035.
        kind, _, value = kind.partition("-")
    kind = kind.casefold()
    match kind:
        case SceneType.ORIGINAL | SceneType.NONE if not value:
            return {"sceneType": kind}
        case SceneType.PRESET if value:
            return {"sceneType": kind, "sceneId": _scene_id(value)}
        case SceneType.COLOR if _COLOR.fullmatch(value):
            return {"sceneType": kind, "color": f"#{value.removeprefix('#').lower()}"}
    raise CommandError(
        f"--scene is {wish!r}, which is no scene.",
        "Give original, none, preset:035 or color:#f4e9dd.",
    )


def _scene_id(text: str) -> str:
    try:
        return catalogue.scene_id(text)
    except catalogue.NoSuchIdError as error:
        meant = "" if error.suggestion is None else f"preset:{error.suggestion}, "
        raise CommandError(
            f"There is no preset scene {text!r}.",
            f"Give {meant or 'preset:035, '}or another id of the vendor's.",
        ) from error


def scene_filter(wish: str) -> str:
    """Return a scene as result keys have it; `preset` and `color` alone are every one of them.

    Raises:
        CommandError: it is no scene.

    """
    text = wish.strip().casefold()
    if text in {SceneType.PRESET, SceneType.COLOR}:
        return text
    values = scene(wish)
    more = values.get("sceneId") or values.get("color", "").removeprefix("#")
    return f"{values['sceneType']}-{more}" if more else values["sceneType"]


def fields(wish: str) -> dict[str, Any]:
    """Return further fields of the vendor's request.

    Raises:
        CommandError: it is no JSON object.

    """
    try:
        value = json.loads(wish)
    except ValueError as error:
        raise CommandError(
            f"--extra is no JSON: {error}.", """Give an object: --extra '{"field": 1}'."""
        ) from error
    if not isinstance(value, dict):
        raise CommandError(
            "--extra is no JSON object.", """Give an object: --extra '{"field": 1}'."""
        )
    return value


def metadata(values: Mapping[str, str]) -> dict[str, str]:
    """Return S3 user metadata: what is not plain ASCII as an RFC 2047 word, as S3 writes it."""
    return {name: _encoded(value) for name, value in values.items()}


def since(wish: str) -> str:
    """Return the moment, ISO 8601, of `2h` (so long ago), `2026-11-24` or `2026-11-24T10:00`.

    Raises:
        CommandError: it is none of these.

    """
    span = _seconds(wish)
    try:
        if span is not None:
            return iso(datetime.now(UTC) - timedelta(seconds=span))
        moment = datetime.fromisoformat(wish.strip())
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"--since is {wish!r}, which is no time.",
            "Give a span (30m, 2h, 3d) or a day (2026-11-24), in UTC.",
        ) from error
    return iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def span(wish: str, option: str) -> float:
    """Return the seconds of `90`, `90s`, `30m` or `2h`.

    Raises:
        CommandError: it is no span of time.

    """
    text = wish.strip()
    seconds = _seconds(f"{text}s" if text.isdecimal() else text)
    if not seconds:
        raise CommandError(f"{option} is {wish!r}, which is no span of time.", "Give 90s, 30m, 2h.")
    return seconds


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"([0-9]{1,6})\s*([a-z]+)", text.strip().casefold())
    if found is None or found[2] not in _UNITS:
        return None
    return float(found[1]) * _UNITS[found[2]]


def _encoded(text: str) -> str:
    # A plain text that looks like an encoded word would be decoded by whoever reads it.
    if text.isascii() and text.isprintable() and not text.startswith("=?"):
        return text
    charset = Charset("utf-8")
    charset.header_encoding = BASE64
    return Header(text, charset, maxlinelen=_UNFOLDED).encode()


def as_text(value: dict[str, Any]) -> str:
    """Return JSON in as few bytes as may be: metadata has little room."""
    return json.dumps(value, separators=(",", ":"))
