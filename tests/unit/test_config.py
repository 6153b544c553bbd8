"""What the template tells a function through its environment."""

import re
from pathlib import Path

import pytest

from shared.config import (
    SETTLING_SECONDS,
    FinalizeConfig,
    PollConfig,
    ReconcileConfig,
    SubmitConfig,
    _config,
    config,
)
from shared.errors import ConfigurationError
from shared.models import SceneType

NEEDED = {
    "JOBS_TABLE": "jobs",
    "EVENT_BUS": "catwalk",
    "VMAKE_BASE_URL": "https://open.vmake.ai",
    "API_KEY_SECRET": "arn",
    "PHOTOS_BUCKET": "photos",
    "SUBMIT_QUEUE_URL": "queue",
    "STATE_MACHINE_ARN": "machine",
}


def test_defaults_are_the_templates() -> None:
    """What a function is not told has the template's default."""
    made = SubmitConfig.from_environment(NEEDED)
    template = (Path(__file__).parents[2] / "template.yaml").read_text("utf-8")
    for name, value in {
        "MaxPhotoBytes": made.max_photo_bytes,
        "MaxResultBytes": FinalizeConfig.max_result_bytes,
        "PollMinSeconds": made.poll_min_seconds,
        "PollMaxSeconds": made.poll_max_seconds,
        "TaskTimeoutSeconds": made.task_timeout_seconds,
        "DefaultBatchSize": made.default_batch_size,
        "DailyCreditLimit": made.daily_credit_limit,
        "PhotoDelivery": made.photo_delivery,
        "OnUnknownSubmit": made.on_unknown_submit,
        "DefaultModelId": made.default_model_id,
        "DefaultSceneType": made.default_scene_type.value,
    }.items():
        found = re.search(
            rf"^  {name}:\n(?:    .*\n)*?    Default: \"?([^\"\n]*)", template, re.MULTILINE
        )
        assert found is not None, name
        assert found[1] == str(value), name


def test_every_value_is_read() -> None:
    """Each variable arrives as its type; an empty one is as good as not set."""
    made = SubmitConfig.from_environment(
        NEEDED
        | {
            "POLL_MIN_SECONDS": "7",
            "DEFAULT_SCENE_TYPE": "none",
            "DEFAULT_SCENE_ID": "",
            "PHOTO_DELIVERY": "inline",
            "ON_UNKNOWN_SUBMIT": "resubmit",
            "DAILY_CREDIT_LIMIT": "10",
            "SOMETHING_ELSE": "x",
        }
    )
    assert (made.poll_min_seconds, made.default_scene_type, made.default_scene_id) == (
        7,
        SceneType.NONE,
        "",
    )
    assert (made.photo_delivery, made.on_unknown_submit, made.daily_credit_limit) == (
        "inline",
        "resubmit",
        10,
    )


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_missing_variable_is_named(name: str) -> None:
    """A function without a needed variable says which."""
    environment = {key: value for key, value in NEEDED.items() if key != name}
    with pytest.raises(ConfigurationError, match=name.lower()):
        SubmitConfig.from_environment(environment)


def test_missing_variable_stops_only_the_function_that_needs_it() -> None:
    """FinalizeFunction alone needs a results bucket, and ReconcileFunction the dead letters."""
    assert PollConfig.from_environment(NEEDED).jobs_table == "jobs"
    for kind, name in (
        (FinalizeConfig, "results_bucket"),
        (ReconcileConfig, "dead_letter_queue_url"),
    ):
        with pytest.raises(ConfigurationError, match=name):
            kind.from_environment(NEEDED)
        assert getattr(kind.from_environment(NEEDED | {name.upper(): "x"}), name) == "x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLL_MIN_SECONDS", "three"),
        ("DEFAULT_SCENE_TYPE", "beach"),
        ("PHOTO_DELIVERY", "pigeon"),
        ("ON_UNKNOWN_SUBMIT", "panic"),
    ],
)
def test_wrong_value_is_named(name: str, value: str) -> None:
    """A variable that cannot be used is named with its value."""
    with pytest.raises(ConfigurationError, match=f"{name}='{value}'"):
        SubmitConfig.from_environment(NEEDED | {name: value})


def test_configuration_is_read_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own configuration comes from its environment, once."""
    _config.cache_clear()
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    try:
        first = config(SubmitConfig)
        monkeypatch.setenv("JOBS_TABLE", "other")
        assert config(SubmitConfig) is first
        assert first.jobs_table == "jobs"
    finally:
        _config.cache_clear()


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({}, SETTLING_SECONDS),
        ({"AWS_ENDPOINT_URL": "https://127.0.0.1:1"}, 0),
        ({"AWS_ENDPOINT_URL_S3": "https://127.0.0.1:1"}, 0),
        ({"AWS_ENDPOINT_URL": "https://127.0.0.1:1", "SETTLING_SECONDS": "5"}, 5),
    ],
)
def test_bucket_of_a_local_aws_is_ready_at_once(more: dict[str, str], seconds: int) -> None:
    """On AWS photos of a new bucket wait; a local AWS finds its objects at once."""
    assert SubmitConfig.from_environment(NEEDED | more).settling_seconds == seconds
