"""The task history in JobsTable: one item a kind of task, `TASKS#<scene>#<batch>`.

An item holds plain sums, so that any number of PollFunctions can add to it at the same time. After
`KEEP_TASKS` tasks, one of them halves it. If another addition comes in between, the halving fails,
and the next addition tries again. An addition that is lost or made twice (a retried invocation)
hardly matters.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from shared.models import Settings
from shared.polling.planner import KEEP_TASKS, Sums, TaskHistory

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FRESH_SECONDS: Final = 30.0
"""A process uses a history that it has read for this long."""
FEW_TASKS: Final = 20.0
FEW_FRESH_SECONDS: Final = 3.0
"""The same while fewer than `FEW_TASKS` tasks are known. Each one may then change the plan a lot,
and a burst on a new stack benefits from its first photos."""
_PREFIX: Final = "TASKS#"
_TASKS: Final = "tasks"
_BIN: Final = "d"
_DIGITS: Final = 5
_FEWEST: Final = -400
"""The item numbers the bins from 0, since an attribute name cannot contain a minus here."""


def kind_of(settings: Settings | None) -> str:
    """Return the kind of a task: scene type and batch size, on which its duration depends."""
    if settings is None:
        return "any"
    return f"{settings.scene_type.value}#{settings.batch_size}"


class TaskHistoryStore:
    """Reads task histories and adds to them."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the histories in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, TaskHistory]] = {}

    def of(self, kind: str) -> TaskHistory:
        """Return the history of a kind of task, read at most `FRESH_SECONDS` ago."""
        known = self._known.get(kind)
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        history = self._read(kind, consistent=False)
        fresh = FRESH_SECONDS if history.tasks >= FEW_TASKS else FEW_FRESH_SECONDS
        self._known[kind] = (self._monotonic() + fresh, history)
        return history

    def add(self, kind: str, taught: TaskHistory) -> None:
        """Add what a task taught, and halve a history of `KEEP_TASKS` tasks."""
        attributes = _attributes(taught)
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=_key(kind),
            UpdateExpression="ADD " + ", ".join(f"{name} :{name}" for name in attributes),
            ExpressionAttributeValues={f":{name}": value for name, value in attributes.items()},
            ReturnValues="UPDATED_NEW",
        )
        if float(answer["Attributes"][_TASKS]["N"]) >= KEEP_TASKS:
            self._halve(kind)

    def _halve(self, kind: str) -> None:
        history = self._read(kind, consistent=True)
        if history.tasks < KEEP_TASKS:
            return
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=_key(kind) | _attributes(history.halved()),
                ConditionExpression=f"{_TASKS} = :seen",
                ExpressionAttributeValues={":seen": _number(history.tasks)},
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return  # another function added to it or halved it; the next addition tries again

    def _read(self, kind: str, *, consistent: bool) -> TaskHistory:
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(kind), ConsistentRead=consistent
        )
        return _history_of(answer.get("Item", {}))


def _key(kind: str) -> dict[str, Any]:
    return {"pk": {"S": f"{_PREFIX}{kind}"}}


def _number(value: float) -> dict[str, str]:
    return {"N": f"{value:.{_DIGITS}f}"}


def _attributes(history: TaskHistory) -> dict[str, dict[str, str]]:
    """Return a history as flat numbers: `tasks`, `d<bin>`, `share7_0` to `share7_2`."""
    flat = {_TASKS: history.tasks}
    for bin_, weight in history.durations.items():
        flat[f"{_BIN}{bin_ - _FEWEST}"] = weight
    for name, sums in history.measures.items():
        for place, value in enumerate(sums):
            flat[f"{name}_{place}"] = value
    return {name: _number(value) for name, value in flat.items()}


def _history_of(item: dict[str, Any]) -> TaskHistory:
    durations: dict[int, float] = {}
    measures: dict[str, dict[int, float]] = {}
    tasks = 0.0
    for name, attribute in item.items():
        measure, underscore, place = name.rpartition("_")
        if name == _TASKS:
            tasks = float(attribute["N"])
        elif underscore and place.isdigit():
            measures.setdefault(measure, {})[int(place)] = float(attribute["N"])
        elif name.startswith(_BIN) and name.removeprefix(_BIN).isdigit():
            durations[int(name.removeprefix(_BIN)) + _FEWEST] = float(attribute["N"])
        # Other attributes belong to another version of Catwalk.
    sums = {
        name: Sums(*(values.get(place, 0.0) for place in range(3)))
        for name, values in measures.items()
    }
    return TaskHistory(tasks, durations, sums)
