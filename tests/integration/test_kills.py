"""Power cuts: each call to AWS or the vendor is the last one of its invocation, once.

Whatever the line at which an invocation dies, the next delivery or retry goes on from what the
record says. Nothing may vanish, and nothing may be charged twice.
"""

import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.integration.conftest import Killed, World
from tests.kit import jpeg

SIDES = pytest.mark.parametrize("before", [True, False], ids=["before", "after"])


def calls_of(world: World, action: Callable[[], object]) -> list[str]:
    """Record the calls that an action makes."""
    with world.killing():
        action()
    return list(world.calls)


def dies_at(world: World, number: int, *, before: bool, action: Callable[[], object]) -> str:
    """Let an action die at one of its calls; return the call's name."""
    with world.killing(number, before=before), pytest.raises(Killed) as caught:
        action()
    return str(caught.value)


def warm(world: World) -> None:
    """Let one photo through first, so that clients and key are at hand as in a warm function."""
    world.drop("warm.jpg", jpeg(99, 99))
    world.finish("warm.jpg")
    world.aws.told()


@SIDES
def test_submit_that_dies_anywhere(world: World, before: bool) -> None:
    """A submit cut off at any call ends RUNNING with one charge, or parked with one at most."""
    warm(world)
    event = json.dumps(world.aws.drop("count.jpg", jpeg(50, 50)))
    names = calls_of(world, lambda: world.submit(event))
    assert len(names) > 6
    post = next(number for number, name in enumerate(names) if name.startswith("POST"))
    world.aws.told()
    for number in range(len(names)):
        key = f"{number}.jpg"
        body = json.dumps(world.aws.drop(key, jpeg(100 + number, 50)))
        name = dies_at(world, number, before=before, action=partial(world.submit, body))
        world.sleep(400)
        world.deliver(body)
        job = world.job(key)
        where = f"died {'before' if before else 'after'} call {number}, {name}"
        # Between the write of SUBMITTING and the kept task id nobody can know.
        open_submit = post - 1 < number <= post if before else post - 1 <= number <= post
        if open_submit or (before and number == post + 1):
            assert job.status == "SUBMIT_UNKNOWN", where
            assert world.charges(key) <= 1, where
            assert "Job Needs Attention" in world.aws.told_types(), where
        else:
            assert job.status == "RUNNING", where
            assert world.charges(key) == 1, where
            assert world.aws.started().count(f"{job.job_id}-1") == 1, where
            assert "Job Submitted" in world.aws.told_types(), where
            assert world.finish(key).status == "SUCCEEDED", where
            world.aws.told()


@SIDES
def test_rejection_that_dies_anywhere(world: World, before: bool) -> None:
    """A bad photo whose invocation is cut off still ends REJECTED, and told of."""
    warm(world)
    event = json.dumps(world.aws.drop("count.txt", b"hello"))
    names = calls_of(world, lambda: world.submit(event))
    world.aws.told()
    for number in range(len(names)):
        key = f"{number}.txt"
        body = json.dumps(world.aws.drop(key, b"hello"))
        dies_at(world, number, before=before, action=partial(world.submit, body))
        world.deliver(body)
        assert world.job(key).status == "REJECTED"
        assert set(world.aws.told_types()) == {"Job Rejected"}


@SIDES
@pytest.mark.parametrize("fault", ["no_credits", "bad_key", "status"])
def test_refused_submit_that_dies_anywhere(world: World, before: bool, fault: str) -> None:
    """A submit that was refused, and then cut off, is sent again or parked; one charge at most."""
    warm(world)
    params: dict[str, Any] = {"status": 429} if fault == "status" else {}
    world.vendor.fault("create", fault, **params)
    names = calls_of(
        world, lambda: world.submit(json.dumps(world.aws.drop("count.jpg", jpeg(50, 50))))
    )
    world.sqs.sent.clear()
    for number in range(len(names)):
        key = f"{number}.jpg"
        world.vendor.clear_faults()
        world.vendor.fault("create", fault, **params)
        body = json.dumps(world.aws.drop(key, jpeg(100 + number, 50)))
        # After a refused key the next submit reads the secret anew: a call more, or one less.
        with world.killing(number, before=before), contextlib.suppress(Killed):
            world.submit(body)
        world.sqs.sent.clear()
        world.sleep(400)
        world.deliver(body)
        assert world.job(key).status in {"RUNNING", "SUBMIT_UNKNOWN"}
        assert world.charges(key) <= 1


@SIDES
@pytest.mark.parametrize("fault", [None, "task_error"])
def test_poll_that_dies_anywhere(world: World, before: bool, fault: str | None) -> None:
    """A poll cut off at any call is run again, and the job ends as it would have."""
    warm(world)
    if fault is not None:
        world.vendor.fault("read", fault, times=None)

    def started(key: str, width: int) -> dict[str, Any]:
        world.drop(key, jpeg(width, 50))
        return world.input_of(world.job(key))

    state = started("count.jpg", 50)
    names = calls_of(world, lambda: world.poll(state))
    for number in range(len(names)):
        key = f"{number}.jpg"
        state = started(key, 100 + number)
        world.aws.told()
        dies_at(world, number, before=before, action=partial(world.poll, state))
        assert world.run(world.job(key)) == ("done" if fault is None else "failed")
        assert world.job(key).status == ("SUCCEEDED" if fault is None else "FAILED")
        told = "Job Succeeded" if fault is None else "Job Failed"
        assert set(world.aws.told_types()) == {told}
        assert world.charges(key) == 1


@SIDES
@pytest.mark.parametrize("fault", [None, "expired_url"])
def test_finalize_that_dies_anywhere(world: World, before: bool, fault: str | None) -> None:
    """A copy cut off at any call is run again, and all results are there at the end."""
    warm(world)

    def finished(key: str, width: int) -> dict[str, Any]:
        world.drop(key, jpeg(width, 50), batch_size="2")
        state = world.poll(world.input_of(world.job(key)))
        assert state["outcome"] == "finalize"
        if fault is not None:
            world.vendor.clear_faults()
            world.vendor.fault("download", fault, urls=1)
        return state

    world.finalize(finished("warm-too.jpg", 49))  # the key is read for fresh URLs alone
    state = finished("count.jpg", 50)
    names = calls_of(world, lambda: world.finalize(state))
    assert len(names) > 6
    for number in range(len(names)):
        key = f"{number}.jpg"
        state = finished(key, 100 + number)
        world.aws.told()
        dies_at(world, number, before=before, action=partial(world.finalize, state))
        assert world.finalize(state)["outcome"] == "done"
        job = world.job(key)
        assert (job.status, len(job.results), world.charges(key)) == ("SUCCEEDED", 2, 1)
        assert set(world.aws.told_types()) == {"Job Succeeded"}


@SIDES
def test_recording_a_failure_that_dies_anywhere(world: World, before: bool) -> None:
    """Even the last way out may be cut off: run again, the record says FAILED and is told of."""
    warm(world)
    world.drop("count.jpg", jpeg(50, 50))
    failure = {"failure": {"Error": "Lambda.Unknown", "Cause": "x"}}
    state = world.input_of(world.job("count.jpg")) | failure
    names = calls_of(world, lambda: world.finalize(state))
    for number in range(len(names)):
        key = f"{number}.jpg"
        world.drop(key, jpeg(100 + number, 50))
        state = world.input_of(world.job(key)) | failure
        world.aws.told()
        dies_at(world, number, before=before, action=partial(world.finalize, state))
        assert world.finalize(state)["outcome"] == "failed"
        assert world.job(key).status == "FAILED"
        assert set(world.aws.told_types()) == {"Job Failed"}
