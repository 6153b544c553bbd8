"""A drop or request is decided once; later changes do not alter the decision."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from tests.e2e.driver import Catwalk, mask, photo

VARIANTS = [{"modelId": "001", "sceneType": "none", "batchSize": 1}]
_A_SECOND = 1.1
"""S3's times are whole seconds, so a test must wait one."""


def _folder_file(catwalk: Catwalk, folder: str) -> None:
    catwalk.drop(f"{folder}catwalk.json", b'{"modelId": "044"}')


def _mask(catwalk: Catwalk, folder: str) -> None:
    catwalk.drop(f"{folder}dress.mask.png", mask())


def _nothing(_catwalk: Catwalk, _folder: str) -> None:
    """Change the stack's defaults."""


@pytest.mark.parametrize("change", [_folder_file, _mask, _nothing])
def test_a_drop_delivered_again_after_a_change(
    catwalk: Catwalk, change: Callable[[Catwalk, str], None]
) -> None:
    """A later catwalk.json, mask or default makes no second job of a photo."""
    folder, body = f"decided{change.__name__}/", photo()
    key = f"{folder}dress.jpg"
    catwalk.drop(key, body, {"batch-size": "1"})
    (trigger,) = catwalk.end_of(key)["triggers"]
    change(catwalk, folder)
    deployed = change is _nothing
    with (
        catwalk.configured("SubmitFunction", DEFAULT_MODEL_ID="044") if deployed else nullcontext()
    ):
        catwalk.drop_again(key, trigger, event_id=f"again-{folder}")
        catwalk.idle()
    assert len(catwalk.ended(key)) == 1
    assert catwalk.charges(body) == 1


def test_a_request_delivered_again_after_its_photo_was_overwritten(catwalk: Catwalk) -> None:
    """The request is for the old photo; the new photo has a job of its own drop."""
    key, first, second = "decided-request/dress.jpg", photo(), photo()
    catwalk.drop(key, first, {"batch-size": "1"})
    catwalk.end_of(key)
    detail = {"photo": {"key": key}, "variants": VARIANTS}
    event_id = catwalk.request(detail)
    catwalk.ended(key, 2)
    catwalk.drop(key, second, {"batch-size": "1"})
    catwalk.ended(key, 3)
    catwalk.request_again(event_id, detail)
    catwalk.idle()
    assert len(catwalk.records(key)) == 3
    assert (catwalk.charges(first), catwalk.charges(second)) == (2, 1)


def test_one_request_id_is_one_request(catwalk: Catwalk) -> None:
    """A request that is sent again after a failure costs nothing; other content is REJECTED."""
    key, body = "decided-order/dress.jpg", photo()
    catwalk.drop(key, body, {"batch-size": "1"})
    catwalk.end_of(key)
    catwalk.vendor.fault(
        *("create", "status"),
        match={"path_contains": "decided-order/"},
        status=400,
        code=400,
        message="bad image",
    )
    detail: dict[str, Any] = {
        "requestId": "decided-1",
        "photo": {"key": key},
        "variants": VARIANTS,
    }
    catwalk.request(detail)
    catwalk.ended(key, 2)
    catwalk.request(detail)
    catwalk.idle()
    records = catwalk.ended(key, 2)
    assert [record["attempt"] for record in records] == [1, 1]
    catwalk.request({**detail, "variants": [{**VARIANTS[0], "modelId": "003"}]})
    told = catwalk.ended(key, 3)
    (rejected,) = [record for record in told if record["status"] == "REJECTED"]
    assert "'decided-1' already belongs to another request" in rejected["error"]["message"]
    assert catwalk.charges(body) == 1


def test_a_photo_keeps_the_settings_of_the_moment_of_the_drop(catwalk: Catwalk) -> None:
    """Folder file and mask at the time of the drop count, also if the message is read later."""
    catwalk.drop("moment/changed/catwalk.json", b'{"modelId": "003"}')
    catwalk.drop("moment/deleted/catwalk.json", b'{"modelId": "003"}')
    keys = [f"moment/{name}/dress.jpg" for name in ("changed", "deleted", "added", "masked")]
    with catwalk.deaf("PhotoDroppedRule"):
        for key in keys:
            catwalk.drop(key, photo(), {"batch-size": "1"})
        time.sleep(_A_SECOND)
        catwalk.drop("moment/changed/catwalk.json", b'{"modelId": "044"}')
        catwalk.delete("moment/deleted/catwalk.json")
        catwalk.drop("moment/added/catwalk.json", b'{"modelId": "044"}')
        catwalk.drop("moment/masked/dress.mask.png", mask())
        catwalk.idle()
    catwalk.reconcile_lost(len(keys))
    records = [catwalk.end_of(key) for key in keys]
    models = [record["settings"]["model_id"] for record in records]
    assert models == ["003", "003", "002", "002"]
    assert "mask" not in records[-1]["settings"]
