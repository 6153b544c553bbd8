"""Values of command-line options, as metadata and `catwalk.json` write them."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.charset import BASE64, Charset
from email.header import Header
from typing import Any, Final

from cli.errors import CommandError
from shared.clock import iso
from shared.intake.settings import MAX_ID
from shared.models import SceneType
from shared.vmake import catalogue

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNFOLDED: Final = 100_000
"""A line length that no value reaches: a metadata value must not be folded."""
MAX_IMAGES: Final = 4
"""The most images of a job."""
_COLOR: Final = re.compile(r"#?[0-9a-fA-F]{6}")


def model_id(text: str) -> str:
    """Return the id of a model that is given by its name or id.

    Raises:
        CommandError: it is empty, is not an id, or resembles a known id or name (a typing error).

    """
    if not text.strip():
        names = ", ".join(catalogue.MODEL_IDS)
        raise CommandError("--model is empty.", f"Name one: {names}, or an id.")
    try:
        return catalogue.model_id(text)
    except catalogue.NoSuchIdError as error:
        raise CommandError(
            f"There is no model {text.strip()!r}.", _meant(error.suggestion)
        ) from error


def _meant(model: str | None) -> str:
    if model is None:
        names = ", ".join(catalogue.MODEL_IDS)
        return f"Name one ({names}), or an id of letters, digits and . _ -"
    return f"Did you mean {catalogue.MODELS[model].casefold()!r} ({model})?"


def scene_values(text: str) -> dict[str, str]:
    """Return the settings of a scene: `original`, `none`, `preset:035` or `color:#f4e9dd`.

    Raises:
        CommandError: it has another form.

    """
    kind, found, value = text.strip().partition(":")
    if not found and "-" in kind:
        # The form of result keys: preset-035.
        kind, _, value = kind.partition("-")
    kind = kind.casefold()
    match kind:
        case SceneType.ORIGINAL | SceneType.NONE if not value:
            return {"sceneType": kind}
        case SceneType.PRESET if value:
            return {"sceneType": kind, "sceneId": _scene_id(value)}
        case SceneType.COLOR if _COLOR.fullmatch(value):
            return {"sceneType": kind, "color": f"#{value.removeprefix('#').lower()}"}
    if not value and kind in {SceneType.PRESET, SceneType.COLOR}:
        example = "preset:035" if kind == SceneType.PRESET else "color:#f4e9dd"
        what = "the number of a scene" if kind == SceneType.PRESET else "a colour"
        raise CommandError(f"--scene {text!r} needs {what}.", f"Give it like this: {example}.")
    instead = "Give original, none, preset:035 or color:#f4e9dd."
    if kind == SceneType.COLOR:
        instead = "Give the colour as six hexadecimal digits: color:#f4e9dd."
    raise CommandError(f"--scene {text!r} is not a background.", instead)


def _scene_id(text: str) -> str:
    try:
        return catalogue.scene_id(text)
    except catalogue.NoSuchIdError as error:
        meant = "" if error.suggestion is None else f"preset:{error.suggestion}, "
        raise CommandError(
            f"There is no preset scene {text!r}.",
            f"Give {meant or 'preset:035, '}or another of the vendor's ids.",
        ) from error


def scene_filter(text: str) -> str:
    """Return a scene as result keys write it; `preset` or `color` alone matches all of that kind.

    Raises:
        CommandError: it is not a scene.

    """
    kind = text.strip().casefold()
    if kind in {SceneType.PRESET, SceneType.COLOR}:
        return kind
    chosen = scene_values(text)
    more = chosen.get("sceneId") or chosen.get("color", "").removeprefix("#")
    return f"{chosen['sceneType']}-{more}" if more else chosen["sceneType"]


def image_numbers(text: str, option: str) -> tuple[int, ...]:
    """Return the numbers of images: `1,3`.

    Raises:
        CommandError: it has another form.

    """
    parts = re.split(r"[,\s]+", text.strip(" ,"))
    if not all(re.fullmatch(f"[1-{MAX_IMAGES}]", part) for part in parts):
        raise CommandError(
            f"{option} {text!r} names no images.",
            f"Give numbers from 1 to {MAX_IMAGES} with commas between them: {option} 1,3.",
        )
    return tuple(sorted({int(part) for part in parts}))


def fields(text: str) -> dict[str, Any]:
    """Return additional fields of the vendor's request.

    Raises:
        CommandError: it is not a JSON object.

    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(
            f"--extra is not JSON: {error}.", """Give an object: --extra '{"field": 1}'."""
        ) from error
    if not isinstance(value, dict):
        raise CommandError(
            "--extra is not a JSON object.", """Give an object: --extra '{"field": 1}'."""
        )
    return value


def values(
    *,
    model: str | None = None,
    scene: str | None = None,
    images: int | None = None,
    sku: str | None = None,
    request_id: str | None = None,
    extra: str | None = None,
) -> dict[str, str]:
    """Return settings under their metadata names; what is None is left out.

    Raises:
        CommandError: a value cannot be used.

    """
    found: dict[str, str] = {}
    if model is not None:
        found["model-id"] = model_id(model)
    if scene is not None:
        names = {"sceneType": "scene-type", "sceneId": "scene-id", "color": "color"}
        found |= {names[name]: value for name, value in scene_values(scene).items()}
    if images is not None:
        found["batch-size"] = str(images)
    for option, text in (("--sku", sku), ("--request-id", request_id)):
        if text is None:
            continue
        if not text.strip() or not text.isprintable() or len(text) > MAX_ID:
            raise CommandError(
                f"{option} is {text[:MAX_ID]!r}.", f"Give a line of 1 to {MAX_ID} characters."
            )
        found[option.removeprefix("--")] = text.strip()
    if extra is not None:
        found["extra"] = as_text(fields(extra))
    return found


def over(base: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return settings, `own` before `base`; another background replaces all of the base's."""
    kept = dict(base)
    if "scene-type" in own:
        for name in ("scene-type", "scene-id", "color"):
            kept.pop(name, None)
    return kept | dict(own)


def metadata(settings: Mapping[str, str]) -> dict[str, str]:
    """Return S3 user metadata; values that are not plain ASCII become RFC 2047 words, as in S3."""
    return {name: _encoded(value) for name, value in settings.items()}


def since(text: str) -> str:
    """Return the ISO 8601 time of `2h` (two hours ago), `2026-11-24` or `2026-11-24T10:00`.

    Raises:
        CommandError: it has another form.

    """
    span = _seconds(text)
    try:
        if span is not None:
            return iso(datetime.now(UTC) - timedelta(seconds=span))
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"--since {text!r} is not a time.",
            "Give a span (30m, 2h, 3d) or a day (2026-11-24), in UTC.",
        ) from error
    return iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def span(text: str, option: str) -> float:
    """Return the seconds of `90`, `90s`, `30m` or `2h`.

    Raises:
        CommandError: it has another form.

    """
    number = text.strip()
    seconds = _seconds(f"{number}s" if number.isdecimal() else number)
    if not seconds:
        raise CommandError(
            f"{option} {text!r} is not a duration.", "Give it like this: 90s, 30m or 2h."
        )
    return seconds


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"([0-9]{1,6})\s*([a-z]+)", text.strip().casefold())
    if found is None or found[2] not in _UNITS:
        return None
    return float(found[1]) * _UNITS[found[2]]


def _encoded(text: str) -> str:
    # Plain text that looks like an encoded word is encoded too: readers would decode it.
    if text.isascii() and text.isprintable() and not text.startswith("=?"):
        return text
    charset = Charset("utf-8")
    charset.header_encoding = BASE64
    return Header(text, charset, maxlinelen=_UNFOLDED).encode()


def as_text(value: dict[str, Any]) -> str:
    """Return JSON without spaces, because S3 metadata is limited to 2 KB."""
    return json.dumps(value, separators=(",", ":"))
