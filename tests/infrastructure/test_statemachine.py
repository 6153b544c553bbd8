"""The wait loop's definition is complete and agrees with the functions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.polling.state import PollOutcome

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "statemachine" / "job.asl.yaml").read_text()
MACHINE: dict[str, Any] = yaml.safe_load(TEXT)
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
TASKS = [name for name, state in STATES.items() if state["Type"] == "Task"]


def _nexts(state: dict[str, Any]) -> set[str]:
    ways = [state, *state.get("Choices", []), *state.get("Catch", [])]
    found = {way["Next"] for way in ways if "Next" in way}
    return found | ({state["Default"]} if "Default" in state else set())


def test_every_state_is_reached_and_leads_on_or_ends() -> None:
    """Each state is reachable, and each transition leads to a state."""
    reached, open_ends = {MACHINE["StartAt"]}, [MACHINE["StartAt"]]
    while open_ends:
        state = STATES[open_ends.pop()]
        ends = state["Type"] in {"Succeed", "Fail"}
        assert ends or _nexts(state)
        for name in _nexts(state) - reached:
            reached.add(name)
            open_ends.append(name)
    assert reached == set(STATES)


def test_the_choice_knows_every_outcome_and_no_other() -> None:
    """Each outcome of the functions has a branch."""
    named = set(re.findall(r"outcome = '(\w+)'", TEXT))
    quiet_ends = {PollOutcome.DONE, PollOutcome.SUPERSEDED}
    assert named == {outcome.value for outcome in PollOutcome} - quiet_ends
    assert STATES["Decide"]["Default"] == "JobDone"


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_tried_again_with_jitter(name: str) -> None:
    """Temporary errors are retried with backoff and jitter."""
    retries = STATES[name]["Retry"]
    assert "Lambda.TooManyRequestsException" in retries[0]["ErrorEquals"]
    assert retries[-1]["ErrorEquals"] == ["States.ALL"]
    for retry in retries:
        assert retry["JitterStrategy"] == "FULL"
        assert retry["BackoffRate"] > 1
        assert retry["MaxDelaySeconds"]


def _mean_seconds(retry: dict[str, Any]) -> float:
    """Return the average total wait of a retrier; with FULL jitter, half of each delay."""
    delays: Iterator[float] = (
        min(retry["MaxDelaySeconds"], retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt)
        for attempt in range(retry["MaxAttempts"])
    )
    return sum(delays) * {"FULL": 0.5, "NONE": 1.0}[retry["JitterStrategy"]]


@pytest.mark.parametrize("name", TASKS)
def test_trouble_is_retried_for_about_an_hour(name: str) -> None:
    """The definition and docs/reliability.md say an hour; each retrier takes that on average."""
    for retry in STATES[name]["Retry"]:
        assert 3_300 <= _mean_seconds(retry) <= 3_900


@pytest.mark.parametrize("name", TASKS)
def test_retries_fit_into_the_history(name: str) -> None:
    """An execution has 25,000 events; a retry makes three, and the polls need most of them."""
    assert sum(retry["MaxAttempts"] for retry in STATES[name]["Retry"]) * 3 < 250


@pytest.mark.parametrize("name", [name for name in TASKS if name != "RecordFailure"])
def test_what_cannot_be_retried_still_ends_in_the_record(name: str) -> None:
    """Errors of each task are caught once and recorded, except those of the recording task."""
    (catch,) = STATES[name]["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    assert catch["Next"] == "RecordFailure"
    assert "$states.errorOutput" in catch["Output"]
    assert "$states.input" in catch["Output"]


def test_it_names_no_arn_of_an_account() -> None:
    """The definition is the same in every account, region and partition."""
    assert "arn:aws" not in TEXT
    assert not re.search(r"\d{12}", TEXT)


def test_every_substitution_is_given_and_every_given_one_is_used() -> None:
    """Template and definition agree on the names."""
    template = (ROOT / "template.yaml").read_text()
    block = template.split("DefinitionSubstitutions:")[1].split("Role:")[0]
    given = set(re.findall(r"^\s+(\w+):", block, re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)\}", TEXT)) == given


def test_it_is_written_without_yaml_anchors() -> None:
    """The definition has no YAML anchors."""
    assert not re.search(r"[:-] [&*]\w+", TEXT)


@pytest.mark.parametrize("polls", [1, 2, 10])
def test_a_job_of_so_many_polls_takes_so_many_state_transitions(polls: int) -> None:
    """Step Functions bills each state that is entered: three a poll, and three at the end."""
    said = iter(["wait"] * (polls - 1) + ["finalize", "done"])
    outcome, name, entered = "", MACHINE["StartAt"], 1
    while STATES[name]["Type"] != "Succeed":
        state = STATES[name]
        if state["Type"] == "Task":
            outcome = next(said)
        ways = {way["Condition"]: way["Next"] for way in state.get("Choices", [])}
        chosen = (way for condition, way in ways.items() if f"'{outcome}'" in condition)
        name = state["Next"] if not ways else next(chosen, state.get("Default"))
        entered += 1
    assert entered == 3 * polls + 3
    assert next(said, None) is None
