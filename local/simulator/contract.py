"""The documented contract of the vendor's API: the rules for requests, and the form of answers.

Sources are the vendor's quick start ("quick start") and its reference and "standard response" pages
("reference"). `README.md` lists what they do not say.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import JSONResponse

TASKS_PATH: Final = "/api/v4/image/ai-fashion-model/clothing-tasks"
"""POST creates a task here; GET `<this>/<taskId>` reads it (quick start)."""

SCENE_TYPES: Final = ("original", "preset", "color", "none")
"""Keep the photo's background, a preset scene, one flat colour, transparent (quick start)."""

MAX_BATCH: Final = 4
"""The most results of a task, and the default of `batchSize` (reference)."""

MAX_BODY_BYTES: Final = 96 * 1024 * 1024
"""The simulator's own limit of a request body; the vendor's is not documented."""

_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_SHOWN_CHARACTERS: Final = 80


class RefusedError(Exception):
    """The vendor refuses a request and charges nothing.

    `status` is both the HTTP status and the envelope's code, which are mostly equal (reference).
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Keep status, message and headers of the answer."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Look:
    """The model and the scene of a request."""

    model_id: str
    scene_type: str
    scene_id: str | None = None
    color: str | None = None


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The body of a valid create request.

    `image` and `mask` are references: a URL or base64. Fields that the contract does not name are
    ignored and never refused, since the vendor has fields whose names are not public.
    """

    image: str
    mask: str | None
    batch_size: int
    look: Look


def envelope(
    data: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    code: int = 0,
    message: str = "Success",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an answer in the reference's envelope: `{"code", "message", "data"}`.

    An error has no `data`.
    """
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = dict(data)
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error whose code equals its HTTP status."""
    return envelope(status=status, code=status, message=message, headers=headers)


def check_key(sent: str | None, expected: str | None) -> None:
    """Refuse a missing key, and any key but `expected` if that is set."""
    if not sent:
        raise RefusedError(401, "the header X-Api-Key is missing or empty: send your API key in it")
    if expected is not None and sent != expected:
        raise RefusedError(401, "the API key in the header X-Api-Key is not valid")


def check_content_type(sent: str | None) -> None:
    """Refuse a Content-Type other than JSON."""
    media_type = (sent or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        shown = "missing" if sent is None else _shown(sent)
        raise RefusedError(400, f"the header Content-Type is {shown}: it must be application/json")


def parse_body(body: bytes) -> dict[str, Any]:
    """Read the body as a JSON object."""
    try:
        fields = json.loads(body)
    except ValueError as problem:
        raise RefusedError(400, f"the body is not valid JSON: {problem}") from problem
    if not isinstance(fields, dict):
        raise RefusedError(400, f"the body must be a JSON object, not {_shown(fields)}")
    return fields


def parse_create(fields: dict[str, Any]) -> CreateRequest:
    """Check each field of a create request, in the order of the reference's table."""
    image = _text(fields, "image", "an image URL or base64 image data (JPEG or PNG)")
    mask = _mask(fields)
    batch_size = _batch_size(fields)
    model_id = _text(fields, "modelId", 'the id of a model, such as "002"')
    scene_type = _scene_type(fields)
    return CreateRequest(
        image=image,
        mask=mask,
        batch_size=batch_size,
        look=Look(
            model_id=model_id,
            scene_type=scene_type,
            scene_id=_scene_id(fields, scene_type),
            color=_color(fields, scene_type),
        ),
    )


def _text(fields: dict[str, Any], name: str, meaning: str) -> str:
    if name not in fields:
        raise RefusedError(400, f"{name} is missing: it must be {meaning}")
    value = fields[name]
    if not isinstance(value, str) or not value.strip():
        raise RefusedError(
            400, f"{name} is {_shown(value)}: it must be a non-empty string, {meaning}"
        )
    return value


def _mask(fields: dict[str, Any]) -> str | None:
    value = fields.get("mask")
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise RefusedError(
            400,
            f"mask is {_shown(value)}: it must be null or a PNG as a URL or base64 data, "
            "of the same pixel size as the image",
        )
    return value


def _batch_size(fields: dict[str, Any]) -> int:
    value = fields.get("batchSize", MAX_BATCH)
    # In Python True is an int; in JSON it is none.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_BATCH:
        raise RefusedError(
            400, f"batchSize is {_shown(value)}: it must be an integer from 1 to {MAX_BATCH}"
        )
    return value


def _scene_type(fields: dict[str, Any]) -> str:
    allowed = ", ".join(SCENE_TYPES)
    if "sceneType" not in fields:
        raise RefusedError(400, f"sceneType is missing: it must be one of {allowed}")
    value = fields["sceneType"]
    if not isinstance(value, str) or value not in SCENE_TYPES:
        raise RefusedError(400, f"sceneType is {_shown(value)}: it must be one of {allowed}")
    return value


def _scene_id(fields: dict[str, Any], scene_type: str) -> str | None:
    if "sceneId" in fields:
        return _text(fields, "sceneId", 'the id of a preset scene, such as "035"')
    if scene_type == "preset":
        raise RefusedError(
            400, 'sceneId is missing: sceneType "preset" needs the id of a scene, such as "035"'
        )
    return None


def _color(fields: dict[str, Any], scene_type: str) -> str | None:
    if "color" not in fields:
        if scene_type == "color":
            raise RefusedError(
                400, 'color is missing: sceneType "color" needs a hex colour such as "#000000"'
            )
        return None
    value = fields["color"]
    if not isinstance(value, str) or _COLOR.fullmatch(value) is None:
        raise RefusedError(
            400, f'color is {_shown(value)}: it must be a hex colour such as "#000000"'
        )
    return value


def _shown(value: object) -> str:
    """Return a value as short JSON for a message; it may be megabytes of base64."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
