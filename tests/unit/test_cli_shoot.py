"""`catwalk shoot`: its offers, its question and its requests."""

import json
from typing import Any

import pytest

from shared.models import JobStatus, Photo, SceneType, Settings
from tests.cli_runner import Shell
from tests.factories import PHOTOS, jpeg

MIA = Settings(model_id="004", scene_type=SceneType.ORIGINAL, batch_size=4)


def put(shell: Shell, job_id: str, key: str = "summer/a.jpg", **changes: Any) -> None:
    """Write a job whose photo is in the bucket."""
    answer = shell.aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=jpeg())
    photo = Photo(bucket=PHOTOS, key=key, etag=answer["ETag"].strip('"'))
    values: dict[str, Any] = {"status": JobStatus.SUCCEEDED, "source_key": key, "photo": photo}
    shell.job(job_id, **(values | changes))


@pytest.fixture
def desk(shell: Shell) -> Shell:
    """Make two jobs with images and one that failed."""
    put(shell, "one", sku="S-1")
    put(shell, "two", "summer/b.jpg")
    put(shell, "bad", "summer/c.jpg", status=JobStatus.FAILED)
    return shell


def sent(shell: Shell) -> list[dict[str, Any]]:
    """Return the requests that were sent since the last call."""
    return [json.loads(body)["detail"] for body in shell.aws.take(shell.url)]


def test_folder_with_another_model(desk: Shell) -> None:
    """The command shows the price and asks; only a yes sends a request for each photo."""
    words = ("shoot", "--folder", "summer/", "--model", "mia")
    code, out, _ = desk(*words, says="n\n")
    assert (code, "Go on, and spend up to 2 credits?" in out, sent(desk)) == (1, True, [])
    assert "2 of 2 photos can be shot, for up to 2 credits." in out
    (line,) = [line for line in out.splitlines() if line.startswith("one ")]
    cells = ["summer/a.jpg", "Clara, own background", "Mia, own background, 4 images", "1 credit"]
    assert [cell.strip() for cell in line.split("  ") if cell.strip()][1:] == cells
    code, out, _ = desk(*words, says="y\n")
    assert (code, "2 new jobs on the way." in out) == (0, True)
    found = {detail["photo"]["key"]: detail for detail in sent(desk)}
    assert set(found) == {"summer/a.jpg", "summer/b.jpg"}
    (variant,) = found["summer/a.jpg"]["variants"]
    assert (variant["modelId"], variant["batchSize"]) == ("004", 4)
    assert found["summer/a.jpg"]["sku"] == "S-1"


def test_background_and_images(desk: Shell) -> None:
    """Background, colour and number of images can be changed too."""
    assert desk("shoot", "one", "--color", "F4E9DD", "--images", "1", "--yes")[0] == 0
    (variant,) = sent(desk)[0]["variants"]
    assert (variant["sceneType"], variant["color"], variant["batchSize"]) == (
        *("color", "#f4e9dd"),
        1,
    )


def test_shot_so_already(desk: Shell) -> None:
    """A photo that has such a job is skipped, so a second run is free; --again makes more."""
    put(desk, "mia", settings=MIA)
    code, out, _ = desk("shoot", "one", "--model", "mia", "--yes")
    assert (code, sent(desk)) == (1, [])
    assert "It has a job with these settings: mia, Done. --again makes other images." in out
    assert desk("shoot", "one", "--model", "mia", "--again", "--yes")[0] == 0
    assert len(sent(desk)) == 1
    assert desk("shoot", "--folder", "summer", "--model", "mia", "--yes")[0] == 0
    assert [detail["photo"]["key"] for detail in sent(desk)] == ["summer/b.jpg"]


def test_second_run_before_the_first_one_has_records(desk: Shell) -> None:
    """Until the job exists, the same command sends the same request, so it costs one credit."""
    jamila = MIA.model_copy(update={"model_id": "003"})
    put(desk, "jamila", settings=jamila)
    words = ("shoot", "one", "jamila", "--model", "mia", "--yes")
    turned = ("shoot", "jamila", "one", "--model", "mia", "--yes")
    assert (desk(*words)[0], desk(*turned)[0]) == (0, 0)
    first, second = (detail["requestId"] for detail in sent(desk))
    assert first == second
    assert (desk(*words, "--again")[0], desk(*words, "--again")[0]) == (0, 0)
    others = {detail["requestId"] for detail in sent(desk)}
    assert (len(others), first in others) == (2, False)
    put(desk, "failed", status=JobStatus.FAILED, settings=MIA)
    assert desk(*words)[0] == 0
    assert sent(desk)[0]["requestId"] != first, "a job that failed is shot anew"


def test_photo_with_two_jobs_is_shot_once(desk: Shell) -> None:
    """Two jobs of a photo that get the same settings make one new job."""
    jamila = MIA.model_copy(update={"model_id": "003"})
    put(desk, "jamila", settings=jamila)
    assert desk("shoot", "summer/a.jpg", "--model", "mia", "--yes")[0] == 0
    assert len(sent(desk)) == 1


def test_photo_that_is_gone(desk: Shell) -> None:
    """A photo that cannot be shot says why, and the others are shot."""
    desk.aws.s3.delete_object(Bucket=PHOTOS, Key="summer/a.jpg")
    code, out, _ = desk("shoot", "one", "two", "--model", "mia", "--yes")
    assert (code, "1 of 2 photos can be shot, for up to 1 credit." in out) == (1, True)
    assert len(sent(desk)) == 1
    assert desk("shoot", "--status", "failed", "--model", "mia", "--yes")[0] == 0
    assert [detail["photo"]["key"] for detail in sent(desk)] == ["summer/c.jpg"]


def test_json(desk: Shell) -> None:
    """--json prints offers and requests, and needs --yes or --dry-run."""
    words = ("shoot", "one", "--model", "mia", "--json")
    code, _, err = desk(*words)
    assert (code, "--yes" in err) == (1, True)
    (offer,) = map(json.loads, desk(*words, "--dry-run")[1].splitlines())
    assert (offer["event"], offer["credits"], offer["refusal"]) == ("offer", 1, None)
    assert offer["settings"]["modelId"] == "004"
    assert sent(desk) == []
    lines = [json.loads(line) for line in desk(*words, "--yes")[1].splitlines()]
    assert (lines[1]["event"], lines[1]["jobId"]) == ("shot", "one")
    assert sent(desk)[0]["requestId"] == lines[1]["requestId"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["one"], "No new settings are given."),
        (["--model", "mia"], "No jobs are named."),
        (["one", "--model", "clare"], "There is no model 'clare'."),
        (["one", "--scene", "beach"], "--scene 'beach' is not a background."),
        (["one", "--scene", "none", "--color", "#ffffff"], "--scene 'none' and --color contradict"),
        (["one", "--color", "red"], "--scene 'color:red' is not a background."),
        (["nobody", "--model", "mia"], "There is no job, no photo and no request 'nobody'."),
        (["--folder", "none", "--model", "mia"], "No job matches."),
        (["--folder", "", "--model", "mia"], "--folder is empty."),
    ],
)
def test_wrong_words(desk: Shell, words: list[str], says: str) -> None:
    """Invalid options are refused, and nothing is sent."""
    code, _, err = desk("shoot", *words, "--yes")
    assert (code, err.startswith(says), len(err.splitlines()), sent(desk)) == (1, True, 2, [])
