"""The client of the vendor's quick start, with only the base URL changed.

It shares no code with Catwalk: create, read in fixed intervals until it is done, download.
"""

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from local.simulator import Settings, SimulatorServer

API_KEY = "your-api-key"
INTERVAL_SECONDS = 0.1  # the guide waits 3 s
SAMPLES = Path(__file__).parents[2] / "local" / "samples"


@pytest.fixture
def vendor() -> Iterator[SimulatorServer]:
    with SimulatorServer(Settings(seconds=0.5)) as server:
        yield server


@pytest.fixture
def image_url(vendor: SimulatorServer) -> str:
    """Return a URL of a picture: a result of the simulator."""
    image = (
        "data:image/jpeg;base64," + base64.b64encode((SAMPLES / "dress.jpg").read_bytes()).decode()
    )
    body = {"image": image, "modelId": "001", "sceneType": "original"}
    task_id = create_task(vendor.base_url, body)
    url: str = wait_for_results(vendor.base_url, task_id)[0]["downloadUrl"]
    return url


def create_task(base_url: str, body: dict[str, Any]) -> str:
    response = httpx.post(
        f"{base_url}/api/v4/image/ai-fashion-model/clothing-tasks",
        headers={"X-Api-Key": API_KEY, "Content-Type": "application/json"},
        json=body,
        timeout=30,
    )
    response.raise_for_status()
    result = response.json()
    if result["code"] != 0:
        raise RuntimeError(result["message"])
    return str(result["data"]["taskId"])


def wait_for_results(base_url: str, task_id: str) -> list[dict[str, Any]]:
    while True:
        response = httpx.get(
            f"{base_url}/api/v4/image/ai-fashion-model/clothing-tasks/{task_id}",
            headers={"X-Api-Key": API_KEY},
            timeout=30,
        )
        response.raise_for_status()
        data = response.json()["data"]
        if data["status"] == "success":
            results: list[dict[str, Any]] = data["results"]
            return results
        if data["status"] == "error":
            raise RuntimeError(data["message"])
        time.sleep(INTERVAL_SECONDS)


def test_the_quick_start_works(vendor: SimulatorServer, image_url: str, tmp_path: Path) -> None:
    """The guide's example request gives four images that can be opened."""
    task_id = create_task(
        vendor.base_url,
        {"image": image_url, "modelId": "002", "sceneType": "preset", "sceneId": "035"},
    )
    results = wait_for_results(vendor.base_url, task_id)
    assert len(results) == 4
    for index, result in enumerate(results, start=1):
        file = tmp_path / f"result-{index}.jpg"
        file.write_bytes(httpx.get(result["downloadUrl"], timeout=30).content)
        assert file.stat().st_size == result["fileSize"]
        with Image.open(io.BytesIO(file.read_bytes())) as picture:
            assert picture.size == (result["width"], result["height"])
