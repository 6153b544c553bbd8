"""The vendor's JSON. Nothing of it leaves this package.

Sources: the vendor's quick start and its reference pages ("standard response"). The names of
the flat colour's field is not documented; `color` is used (one place: `COLOR_FIELD`).
"""

import json
import math
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shared.models import SceneType, Settings, TaskResult

TASKS_PATH: Final = "/api/v4/image/ai-fashion-model/clothing-tasks"
COLOR_FIELD: Final = "color"
_MAX_HINT: Final = 2**53
_MAX_TASK_ID: Final = 1024
_MAX_URL: Final = 8192
_MAX_RESULTS: Final = 16
"""A task has four results. The state machine carries their URLs and takes 256 KiB in all; more
would end the execution in a way that nothing can catch."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class Envelope(_Wire):
    """What every answer is wrapped in. `code` 0 with HTTP 200 is success, nothing else is."""

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
        # An error may come with an empty list or text for data; its code counts all the same.
        return value if isinstance(value, dict) else None


class CreatedData(_Wire):
    """`data` of an accepted create."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    task_id: str = Field(alias="taskId", min_length=1, max_length=_MAX_TASK_ID)


class ResultData(_Wire):
    """One entry of `data.results`. Only the URL is needed; the rest is compared if given."""

    download_url: str = Field(alias="downloadUrl", min_length=1, max_length=_MAX_URL)
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
    results: list[ResultData] = Field(default_factory=list, max_length=_MAX_RESULTS)

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

    def task_results(self) -> tuple[TaskResult, ...]:
        """Return the results in our own words, numbered from 1."""
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
        settings: what to make; `settings.extra` goes in as it is.

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
    """Read an answer's body; None if it is no envelope (a gateway's HTML page, cut-off JSON).

    Args:
        body: the answer's.
        hidden: is left out of every message, the API key.

    """
    try:
        envelope = Envelope.model_validate_json(body)
    except ValidationError:
        return None
    data = envelope.data
    if data is not None and isinstance(data.get("message"), str):
        data = {**data, "message": data["message"].replace(hidden, "[API key]")}
    message = envelope.message.replace(hidden, "[API key]")
    return envelope.model_copy(update={"message": message, "data": data})


def created_task_id(data: dict[str, Any] | None) -> str | None:
    """Return the task id of an accepted create, or None if there is none to be read."""
    try:
        return CreatedData.model_validate(data).task_id
    except ValidationError:
        return None


def task_of(data: dict[str, Any] | None) -> TaskData | None:
    """Return the task of a read, or None if the data is not as documented."""
    try:
        return TaskData.model_validate(data)
    except ValidationError:
        return None
