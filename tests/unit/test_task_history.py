"""The task history in JobsTable."""

import pytest

from shared.models import SceneType, Settings
from shared.polling.planner import KEEP_TASKS, ProgressSample, Sums, TaskHistory, lesson
from shared.polling.task_history import (
    FEW_FRESH_SECONDS,
    FEW_TASKS,
    FRESH_SECONDS,
    TaskHistoryStore,
    kind_of,
)
from tests.factories import TABLE, Aws

KIND = "preset#4"
TAUGHT = lesson(
    TaskHistory(),
    [ProgressSample(8, 0), ProgressSample(12, 30), ProgressSample(20, 60)],
    after=20,
    by=33,
)


def store(aws: Aws) -> TaskHistoryStore:
    """Return a store as in a new process."""
    return TaskHistoryStore(aws.dynamodb, TABLE)


def same(one: TaskHistory, other: TaskHistory) -> bool:
    """Tell whether two experiences are the same but for rounding."""
    return (
        one.tasks == pytest.approx(other.tasks, abs=1e-3)
        and dict(one.durations) == pytest.approx(dict(other.durations), abs=1e-3)
        and one.measures.keys() == other.measures.keys()
        and all(
            tuple(sums) == pytest.approx(tuple(other.measures[name]), abs=1e-3)
            for name, sums in one.measures.items()
        )
    )


def test_a_kind_is_scene_type_and_batch_size() -> None:
    """Models and colours do not make a task longer, as far as is known."""
    settings = Settings(model_id="004", scene_type=SceneType.PRESET, scene_id="035", batch_size=4)
    assert kind_of(settings) == KIND
    assert kind_of(None) == "any"


def test_nothing_is_known_at_first(aws: Aws) -> None:
    """A new stack has no experience, and that is fine."""
    assert store(aws).of(KIND) == TaskHistory()


def test_what_was_added_is_read_again(aws: Aws) -> None:
    """Negative bins, readings and all."""
    taught = TAUGHT.plus(TaskHistory(0.0, {-40: 0.5}, {"gain": Sums(1.0, -0.25, 0.1)}))
    store(aws).add(KIND, taught)
    assert same(store(aws).of(KIND), taught)
    assert store(aws).of("original#4") == TaskHistory()


def test_additions_of_many_add_up(aws: Aws) -> None:
    """Parallel additions are all kept."""
    stores = [store(aws) for _ in range(3)]
    for one in stores * 2:
        one.add(KIND, TAUGHT)
    assert same(
        store(aws).of(KIND), TAUGHT.plus(TAUGHT).plus(TAUGHT).plus(TAUGHT).plus(TAUGHT).plus(TAUGHT)
    )


def test_too_much_is_halved(aws: Aws) -> None:
    """Old tasks count less over time, and the item has a maximum size."""
    much = TaskHistory(KEEP_TASKS - 1, {100: KEEP_TASKS - 1})
    store(aws).add(KIND, much)
    store(aws).add(KIND, TAUGHT)
    assert same(store(aws).of(KIND), much.plus(TAUGHT).halved())


def test_an_addition_while_somebody_halves_is_kept(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halving gives way: the next addition tries again."""
    store(aws).add(KIND, TaskHistory(KEEP_TASKS - 1, {100: KEEP_TASKS - 1}))
    slow, read = store(aws), TaskHistoryStore._read

    def overtaken(self: TaskHistoryStore, kind: str, *, consistent: bool) -> TaskHistory:
        found = read(self, kind, consistent=consistent)
        if self is slow:
            monkeypatch.setattr(TaskHistoryStore, "_read", read)
            aws.dynamodb.update_item(
                TableName=TABLE,
                Key={"pk": {"S": f"TASKS#{KIND}"}},
                UpdateExpression="ADD tasks :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
        return found

    monkeypatch.setattr(TaskHistoryStore, "_read", overtaken)
    slow.add(KIND, TAUGHT)
    assert store(aws).of(KIND).tasks == KEEP_TASKS + 1
    store(aws).add(KIND, TAUGHT)
    assert store(aws).of(KIND).tasks == (KEEP_TASKS + 2) / 2


def test_a_process_reads_seldom(aws: Aws) -> None:
    """What is known is read again after half a minute."""
    now = 0.0
    reader = TaskHistoryStore(aws.dynamodb, TABLE, monotonic=lambda: now)
    store(aws).add(KIND, TaskHistory(FEW_TASKS, {100: FEW_TASKS}))
    assert reader.of(KIND).tasks == FEW_TASKS
    store(aws).add(KIND, TAUGHT)
    now = FRESH_SECONDS - 1
    assert reader.of(KIND).tasks == FEW_TASKS
    now = FRESH_SECONDS + 1
    assert reader.of(KIND).tasks == FEW_TASKS + 1


def test_a_new_stack_reads_more_often(aws: Aws) -> None:
    """The first tasks that end teach those that are submitted right after them."""
    now = 0.0
    reader = TaskHistoryStore(aws.dynamodb, TABLE, monotonic=lambda: now)
    assert reader.of(KIND).tasks == 0
    store(aws).add(KIND, TAUGHT)
    now = FEW_FRESH_SECONDS + 1
    assert reader.of(KIND).tasks == 1


def test_what_another_version_has_learnt_is_left_alone(aws: Aws) -> None:
    """After a step back to an older version, the item still says what that one knows."""
    store(aws).add(KIND, TAUGHT)
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"TASKS#{KIND}"}},
        UpdateExpression="SET note = :note, models = :note",
        ExpressionAttributeValues={":note": {"S": "x"}},
    )
    assert same(store(aws).of(KIND), TAUGHT)
