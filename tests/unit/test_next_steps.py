"""The next steps for a failed job, on the terminal and in the gallery."""

import json
from typing import Any

import pytest

from cli.jobs.recovery import Recovery
from cli.jobs.timeline import next_steps
from cli.stacks.selection import choose
from cli.stacks.stack import Catwalk
from shared.models import ErrorCode, JobError, JobStatus, Photo
from tests.cli_runner import Shell
from tests.factories import PHOTOS

URL = Photo(url="https://shop.example/a.jpg")


def commands(shell: Shell, code: ErrorCode, **changes: Any) -> list[tuple[str, str | None]]:
    """Return the sentences and commands for a rejected photo."""
    error = JobError(code=code, message="It is wrong.")
    values: dict[str, Any] = {
        "error": error,
        "source_key": "summer/it's.jpg",
        "dropped": True,
        "settings": None,
    }
    job = shell.job("j", JobStatus.REJECTED, **(values | changes))
    steps = next_steps(job, Recovery.of(Catwalk.find(choose("catwalk"))))
    return [(step.sentence.partition(":")[0], step.command) for step in steps]


@pytest.mark.parametrize(
    "code",
    [
        *(ErrorCode.EMPTY_FILE, ErrorCode.CORRUPT_IMAGE, ErrorCode.UNSUPPORTED_FORMAT),
        *(ErrorCode.TOO_LARGE, ErrorCode.PHOTO_MISSING, ErrorCode.PHOTO_UNREADABLE),
    ],
)
def test_photo_that_is_unusable_is_replaced(shell: Shell, code: ErrorCode) -> None:
    """For an unusable photo, a new photo under the same name is advised, not another attempt."""
    assert commands(shell, code) == [
        ("Replace this photo", """catwalk drop 'it'"'"'s.jpg' --to summer/""")
    ]
    assert commands(shell, code, source_key="a.jpg")[0][1] == "catwalk drop a.jpg"


def test_mask_is_replaced(shell: Shell) -> None:
    """A mask that does not fit is replaced together with a drop of the photo."""
    assert commands(shell, ErrorCode.MASK_MISMATCH, source_key="a.jpg") == [
        ("Replace the mask", "catwalk drop a.jpg --mask MASK.png")
    ]


@pytest.mark.parametrize("code", [ErrorCode.BAD_REQUEST_EVENT, ErrorCode.PHOTO_MISSING])
def test_request_is_corrected(shell: Shell, code: ErrorCode) -> None:
    """A request of a backend is for its sender to correct."""
    ((sentence, command),) = commands(shell, code, photo=URL, dropped=False)
    assert (sentence.startswith("Correct the request"), command) == (True, None)


def test_settings_are_read_again(shell: Shell) -> None:
    """For corrected settings, processing the same photo again is advised."""
    shell.aws.s3.put_object(Bucket=PHOTOS, Key="summer/it's.jpg", Body=b"x")
    assert commands(shell, ErrorCode.BAD_SETTINGS)[0][1] == "catwalk regenerate j"


def test_price_of_a_dead_letter(shell: Shell) -> None:
    """The price of a redrive is per variant, since a dead letter may stand for several jobs."""
    shell.job("j", settings=None, task_id=None, dead_letter="letter")
    out = shell("show", "j")[1]
    assert "a photo that has no task yet costs a credit per variant." in out


def test_show_offers_the_replacement(shell: Shell) -> None:
    """`show` has the same advice, and offers no new images for a damaged file."""
    commands(shell, ErrorCode.CORRUPT_IMAGE)
    out = shell("show", "j")[1]
    assert (
        "Replace this photo: drop a good one under the same name into the folder summer/, 1 credit."
        in out
    )
    assert "regenerate" not in out


def test_replacement_costs_what_a_drop_there_costs(shell: Shell) -> None:
    """A folder that asks for three variants makes three jobs of the new photo as well."""
    variants = [{"modelId": model} for model in ("001", "002", "003")]

    def store(body: str) -> None:
        shell.aws.s3.put_object(Bucket=PHOTOS, Key="summer/catwalk.json", Body=body.encode())

    store(json.dumps({"variants": variants}))
    commands(shell, ErrorCode.EMPTY_FILE)
    (step,) = json.loads(shell("show", "j", "--json")[1])["next"]
    assert step["sentence"].endswith(
        "under the same name into the folder summer/, up to 3 credits."
    )
    assert step["credits"] == 3
    store("{")
    (step,) = json.loads(shell("show", "j", "--json")[1])["next"]
    assert "summer/catwalk.json is no valid JSON" in step["sentence"]
    assert step["credits"] == 0
