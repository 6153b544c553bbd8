"""The vendor's JSON: what a request is built of, and what an answer is read into.

Settings have the vendor's field names in `catwalk.json` and in events, too
(shared/intake/settings.py).

Sources: the vendor's quick start and its reference pages ("standard response"). The name of the
flat colour's field is not documented; `COLOR_FIELD` assumes `color`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shared.models import SceneType, Settings, TaskResult
from shared.texts import cleaned, json_bytes, json_without_key, without_key

TASKS_PATH: Final = "/api/v4/image/ai-fashion-model/clothing-tasks"
COLOR_FIELD: Final = "color"
_MAX_HINT: Final = 2**53
"""A larger width, height or file size is ignored."""
MAX_TASK_ID_BYTES: Final = 1024
"""As JSON."""
MAX_URL_BYTES: Final = 8192
"""As JSON, where a control character takes six bytes."""
MAX_URLS_BYTES: Final = 65_536
"""Of all results together, as JSON."""
MAX_RESULTS: Final = 16
"""A task has four results. The state machine carries their URLs and the copies, at most 262,144
bytes of JSON in all. More would end the execution with an error that it cannot catch."""
_SECRET_LENGTH: Final = 8
"""A shorter API key is no secret: the simulated vendor accepts any key, and a key `a` would occur
in most task ids. Such a key is removed from messages only."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Envelope(_Wire):
    """The envelope of every answer. Only `code` 0 with HTTP 200 is success."""

    code: int
    message: str = ""
    data: dict[str, Any] | None = None

    @field_validator("message", mode="before")
    @classmethod
    def _any_message(cls, value: object) -> str:
        return value if isinstance(value, str) else "" if value is None else json.dumps(value)

    @field_validator("data", mode="before")
    @classmethod
    def _object_or_nothing(cls, value: object) -> object:
        # In an error, `data` may be an empty list or a text. The code counts in any case.
        return value if isinstance(value, dict) else None


class CreatedData(_Wire):
    """`data` of an accepted create."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    task_id: str = Field(alias="taskId", min_length=1, max_length=MAX_TASK_ID_BYTES)

    @field_validator("task_id")
    @classmethod
    def _short_enough(cls, value: str) -> str:
        if json_bytes(value) > MAX_TASK_ID_BYTES:
            raise ValueError("too long")
        return value


class _AnyData(_Wire):
    """Any JSON object, whether it is an envelope or not."""

    data: Any = None


@dataclass(frozen=True)
class Created:
    """The task that an answer names."""

    task_id: str | None = None
    """The task's id, if it can be kept."""
    unusable: bool = False
    """Whether the answer has a task id that cannot be kept."""


class ResultData(_Wire):
    """One entry of `data.results`. Only the URL is required."""

    download_url: str = Field(alias="downloadUrl", min_length=1, max_length=MAX_URL_BYTES)
    width: int | None = None
    height: int | None = None
    file_size: int | None = Field(default=None, alias="fileSize")

    @field_validator("width", "height", "file_size", mode="before")
    @classmethod
    def _a_hint_at_most(cls, value: object) -> int | None:
        return value if isinstance(value, int) and 0 < value < _MAX_HINT else None


class TaskData(_Wire):
    """`data` of a read."""

    status: str
    progress: float | None = None
    message: str = ""
    results: list[ResultData] = Field(default_factory=list, max_length=MAX_RESULTS)

    @field_validator("progress", mode="before")
    @classmethod
    def _per_cent(cls, value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if isinstance(value, float) and math.isnan(value):
            return None
        return max(0, min(100, value))

    @field_validator("message", mode="before")
    @classmethod
    def _text(cls, value: object) -> str:
        return value if isinstance(value, str) else ""

    @field_validator("results", mode="before")
    @classmethod
    def _list_or_single_object(cls, value: object) -> object:
        if value is None:
            return []
        return [value] if isinstance(value, dict) else value

    @field_validator("results")
    @classmethod
    def _short_enough(cls, value: list[ResultData]) -> list[ResultData]:
        sizes = [json_bytes(result.download_url) for result in value]
        if max(sizes, default=0) > MAX_URL_BYTES or sum(sizes) > MAX_URLS_BYTES:
            raise ValueError("too long")
        return value

    def task_results(self) -> tuple[TaskResult, ...]:
        """Return the results as Catwalk's own model, numbered from 1."""
        return tuple(
            TaskResult(
                index=number,
                url=result.download_url,
                width=result.width,
                height=result.height,
                bytes=result.file_size,
            )
            for number, result in enumerate(self.results, start=1)
        )


def create_body(image: str, mask: str | None, settings: Settings) -> dict[str, Any]:
    """Return the body of a create.

    Args:
        image: a URL, or base64 image data.
        mask: the same for the mask, or None to let the vendor make one.
        settings: what to make; the fields of `settings.extra` are added unchanged.

    """
    body: dict[str, Any] = {
        "image": image,
        "modelId": settings.model_id,
        "sceneType": settings.scene_type.value,
        "batchSize": settings.batch_size,
    }
    if mask is not None:
        body["mask"] = mask
    if settings.scene_type is SceneType.PRESET:
        body["sceneId"] = settings.scene_id
    if settings.scene_type is SceneType.COLOR:
        body[COLOR_FIELD] = settings.color
    return {**body, **settings.extra}


def envelope_of(body: bytes, *, hidden: str) -> Envelope | None:
    """Parse an answer's body; return None if it is no envelope (an HTML page, cut-off JSON).

    Args:
        body: the answer's body.
        hidden: the API key. It is removed, and so are the queries of URLs in messages.

    """
    try:
        envelope = Envelope.model_validate_json(body)
    except ValidationError:
        return None
    data = envelope.data
    if data is not None:
        if len(hidden) >= _SECRET_LENGTH:
            data = json_without_key(data, hidden)
        texts = {name: data[name] for name in ("message", "status") if name in data}
        data |= {
            name: cleaned(text, hidden=hidden)
            for name, text in texts.items()
            if isinstance(text, str)
        }
    message = cleaned(envelope.message, hidden=hidden)
    return envelope.model_copy(update={"message": message, "data": data})


def created_of(body: bytes, *, hidden: str) -> Created:
    """Return the task id of any answer, even of an error.

    An id that contains the API key cannot be kept, since records, events and URLs contain ids.

    Args:
        body: the answer's body.
        hidden: the API key.

    """
    try:
        data = _AnyData.model_validate_json(body).data
    except ValidationError:
        # The JSON is broken. If it contains the name of the field, there was a task.
        return Created(unusable=b'"taskId"' in body)
    # An error may have the field too, as null, empty or 0.
    if not isinstance(data, dict) or not data.get("taskId"):
        return Created()
    try:
        task_id = CreatedData.model_validate(data).task_id.strip()
    except ValidationError:
        return Created(unusable=True)
    if len(hidden) >= _SECRET_LENGTH and without_key(task_id, hidden) != task_id:
        return Created(unusable=True)
    return Created(task_id or None)


def task_of(data: dict[str, Any] | None) -> TaskData | None:
    """Return the task of a read, or None if the data differs from the documentation."""
    try:
        return TaskData.model_validate(data)
    except ValidationError:
        return None
