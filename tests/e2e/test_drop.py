"""`catwalk drop --wait` against the deployed stack."""

import json
from pathlib import Path

import pytest

from tests.e2e.driver import Catwalk, photo


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a folder of photos with two looks each, and a file that is no photo."""
    folder = tmp_path / "drop-été"
    folder.mkdir()
    for name in ("good", "bad"):
        (folder / f"{name}.jpg").write_bytes(photo())
    (folder / "notes.txt").write_text("no photo")
    looks = [{"sceneType": "original"}, {"sceneType": "preset", "sceneId": "035"}]
    (folder / "catwalk.json").write_text(json.dumps({"modelId": "002", "variants": looks}))
    return folder


def test_some_of_a_folder_fail(catwalk: Catwalk, shop: Path) -> None:
    """Each job has a line, with advice if it failed; a second drop pays only for failed ones."""
    match = {"path_contains": "bad.jpg"}
    catwalk.vendor.fault("read", "task_error", match=match, times=2, message="no garment")
    words = ("drop", str(shop), "--images", "1", "--sku", "裙子-42", "--wait")
    done = catwalk.run_command(*words)
    assert done.returncode == 1, done
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout
    assert "notes.txt is left out" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 photos and 1 other file for s3://")
    assert lines[0].endswith(", 4 credits.")
    for look in ("Clara, own background", "Clara, scene 035"):
        good = f"{shop.name}/good.jpg, {look}: Done, 1 image in s3://"
        assert sum(line.startswith(good) for line in lines) == 1
        bad = f"{shop.name}/bad.jpg, {look}: Failed, vendor task error: "
        assert sum(line.startswith(bad) for line in lines) == 1
    (total,) = [line for line in lines if line.startswith("2 succeeded, 2 failed")]
    assert "(2 vendor task error)" in total
    assert total.endswith(", 4 credits.")
    assert any(line.strip().startswith("catwalk regenerate ") for line in lines)
    records = catwalk.records(f"{shop.name}/good.jpg")
    assert {record["sku"] for record in records} == {"裙子-42"}

    # The same command again: done jobs cost nothing, failed jobs get their next attempt.
    again = catwalk.run_command(*words, "--json")
    assert again.returncode == 0, again
    events = [json.loads(line) for line in again.stdout.splitlines()]
    summary = events[-1]
    assert (summary["succeeded"], summary["alreadyDone"], summary["credits"]) == (4, 2, 2)
    assert catwalk.charges((shop / "good.jpg").read_bytes()) == 2
    assert catwalk.charges((shop / "bad.jpg").read_bytes()) == 4


def test_what_was_dropped_is_found(catwalk: Catwalk, tmp_path: Path) -> None:
    """`jobs` and `show` find the photo by its key, and show its image's address."""
    (tmp_path / "found.jpg").write_bytes(photo())
    words = ("drop", str(tmp_path / "found.jpg"), "--to", "drop-found", "--images", "1")
    assert "1 succeeded; " in catwalk.command(*words, "--wait")
    (line,) = catwalk.command("jobs", "--folder", "drop-found", "--json").splitlines()
    job = json.loads(line)
    told = catwalk.command("show", "drop-found/found.jpg")
    result = job["results"][0]
    assert f"s3://{result['bucket']}/{result['key']}" in told
    assert job["executionArn"] in told
    assert " done" in catwalk.command("watch", "--once")
