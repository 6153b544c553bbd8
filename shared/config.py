"""What the template tells a function through its environment.

Read once a process, on first use: importing this module reads nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, Self

from shared.errors import ConfigurationError
from shared.models import Photo, SceneType

INLINE = "inline"
SETTLING_SECONDS: Final = 960
"""AWS says 15 minutes; one more for clocks that differ."""
_ELSEWHERE: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""What leads a function to a local AWS. The template sets neither on AWS."""


@dataclass(frozen=True)
class Config:
    """A function's environment, checked. Not every function is given every value."""

    jobs_table: str
    event_bus: str
    vmake_base_url: str
    api_key_secret: str
    stack_name: str = "catwalk"
    photos_bucket: str = ""
    results_bucket: str = ""
    submit_queue_url: str = ""
    dead_letter_queue_url: str = ""
    state_machine_arn: str = ""
    default_model_id: str = "002"
    default_scene_type: SceneType = SceneType.ORIGINAL
    default_scene_id: str = ""
    default_batch_size: int = 4
    photo_delivery: Literal["presigned", "inline"] = "presigned"
    daily_credit_limit: int = 0
    on_unknown_submit: Literal["park", "resubmit"] = "park"
    max_photo_bytes: int = 20 * 1024 * 1024
    max_result_bytes: int = 256 * 1024 * 1024
    poll_min_seconds: int = 1
    poll_max_seconds: int = 600
    poll_trade_seconds: float = 0.75
    polls_per_second: float = 20.0
    task_timeout_seconds: int = 21_600
    settling_seconds: int = SETTLING_SECONDS
    """How long PhotosBucket settles: shared/limits/settling.py. The template does not set it."""

    def delivery_advice(self, photo: Photo | None) -> str:
        """Return a sentence for a photo that the vendor may not have been able to fetch.

        It is empty if the photo was sent inline, or lies at a URL of the user's own.
        """
        if self.photo_delivery == INLINE or photo is None or photo.key is None:
            return ""
        return (
            " If the vendor could not fetch the photo (its URL is valid for six hours at most, and"
            " not longer than the credentials that signed it), deploy with PhotoDelivery=inline."
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Build from environment variables: each field's name in capitals.

        Raises:
            ConfigurationError: a required variable is missing, or a value has the wrong form.

        """
        values: dict[str, object] = {}
        for name, field in cls.__dataclass_fields__.items():
            text = environment.get(name.upper())
            if text is None or text == "":
                continue
            try:
                values[name] = _parse(field.type, text)
            except ValueError as error:
                message = f"{name.upper()}={text!r} cannot be used: {error}. Mend the template."
                raise ConfigurationError(message) from error
        if any(environment.get(name) for name in _ELSEWHERE):
            # A local AWS finds its objects at once.
            values.setdefault("settling_seconds", 0)
        try:
            return cls(**values)  # type: ignore[arg-type]  # _parse follows the fields' types
        except TypeError as error:
            message = f"the function's environment is incomplete: {error}. Mend the template."
            raise ConfigurationError(message) from error


def _parse(kind: object, text: str) -> object:
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    if kind is SceneType:
        return SceneType(text)
    choices = getattr(kind, "__args__", None)
    if choices and text not in choices:
        raise ValueError(f"allowed are {', '.join(choices)}")
    return text


@cache
def config() -> Config:
    """Return this process's configuration.

    Raises:
        ConfigurationError: see `Config.from_environment`.

    """
    return Config.from_environment(os.environ)
