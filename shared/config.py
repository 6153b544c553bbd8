"""The configuration of each function, read from the environment: one class a function, composed.

If a variable is missing, only the functions that need it fail, at their start. Importing this
module reads nothing.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, Self, TypeVar, cast

from shared.errors import ConfigurationError
from shared.models import Photo, SceneType

INLINE = "inline"
SETTLING_SECONDS: Final = 960
"""AWS says 15 minutes; one more for clocks that differ."""
_ELSEWHERE: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Either one makes a function use a local AWS. The template sets neither."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration that every function has."""

    jobs_table: str
    event_bus: str
    vmake_base_url: str
    api_key_secret: str
    stack_name: str = "catwalk"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read environment variables: each field's name in capitals. An empty one is ignored.

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
                message = f"{name.upper()}={text!r} cannot be used: {error}. Correct the template."
                raise ConfigurationError(message) from error
        if "settling_seconds" in cls.__dataclass_fields__:
            local = any(environment.get(name) for name in _ELSEWHERE)
            values.setdefault("settling_seconds", 0 if local else SETTLING_SECONDS)
        try:
            return cls(**values)  # type: ignore[arg-type]  # _parse follows the fields' types
        except TypeError as error:
            message = f"the function's environment is incomplete: {error}. Correct the template."
            raise ConfigurationError(message) from error


@dataclass(frozen=True, kw_only=True)
class PollingConfig(Config):
    """How tasks are polled."""

    poll_min_seconds: int = 1
    poll_max_seconds: int = 600
    poll_trade_seconds: float = 0.75
    polls_per_second: float = 20.0
    task_timeout_seconds: int = 21_600


@dataclass(frozen=True, kw_only=True)
class DeliveryConfig(Config):
    """How the vendor gets a photo."""

    photo_delivery: Literal["presigned", "inline"] = "presigned"

    def delivery_advice(self, photo: Photo | None) -> str:
        """Return advice for the case that the vendor could not download the photo.

        It is empty if the photo was sent inline or is at the user's own URL.
        """
        if self.photo_delivery == INLINE or photo is None or photo.key is None:
            return ""
        return (
            " If the vendor could not fetch the photo (its URL is valid for six hours at most, and"
            " not longer than the credentials that signed it), deploy with PhotoDelivery=inline."
        )


@dataclass(frozen=True, kw_only=True)
class PhotosConfig(Config):
    """Where photos and their messages are, and their limits."""

    photos_bucket: str
    submit_queue_url: str
    state_machine_arn: str
    daily_credit_limit: int = 0
    max_photo_bytes: int = 20 * 1024 * 1024
    settling_seconds: int = SETTLING_SECONDS
    """How long a 404 from a new PhotosBucket proves nothing; see shared/limits/settling.py. The
    template does not set it. It is 0 on a local AWS, which finds its objects at once."""


@dataclass(frozen=True, kw_only=True)
class SubmitConfig(PhotosConfig, DeliveryConfig, PollingConfig):
    """The configuration of SubmitFunction."""

    default_model_id: str = "002"
    default_scene_type: SceneType = SceneType.ORIGINAL
    default_scene_id: str = ""
    default_batch_size: int = 4
    on_unknown_submit: Literal["park", "resubmit"] = "park"


@dataclass(frozen=True, kw_only=True)
class PollConfig(DeliveryConfig, PollingConfig):
    """The configuration of PollFunction."""


@dataclass(frozen=True, kw_only=True)
class FinalizeConfig(Config):
    """The configuration of FinalizeFunction."""

    results_bucket: str
    max_result_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ReconcileConfig(PhotosConfig):
    """The configuration of ReconcileFunction."""

    dead_letter_queue_url: str


C = TypeVar("C", bound=Config)


def config(kind: type[C]) -> C:
    """Return this process's configuration, read on the first call.

    Raises:
        ConfigurationError: a required variable is missing, or a value has the wrong form.

    """
    return cast("C", _config(kind.from_environment))


@cache
def _config(read: Callable[[Mapping[str, str]], Config]) -> Config:
    return read(os.environ)


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
