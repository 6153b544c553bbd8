"""The poll budget: so many reads a second for the whole stack, shared by all its jobs.

One item in JobsTable, `CONTROL#polls`, counts the reads that are planned for each slot of a few
seconds. A wait whose end falls into a slot that is full is stretched to the next one with room.
While the vendor throttles reads, slots hold fewer: half as many each time, and more again minute
by minute.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shared.clock import utc_now
from shared.records.attributes import update_if

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SLOT_SECONDS: Final = 5
LEAST_A_SECOND: Final = 0.2
"""However much the vendor throttles, the stack reads a task in five seconds."""
RECOVERY_SECONDS: Final = 60.0
"""After throttling, the budget doubles in so many seconds until it is whole again."""
ONE_CUT_SECONDS: Final = 10.0
"""Reads that were under way when the vendor throttled are refused together: that is one cut."""
_TRIES: Final = 4
_MOST_REMOVED: Final = 100
"""Slots that one write forgets: an expression of DynamoDB's has 4 KB at most. A crowd leaves more
behind; the next writes forget those."""
_KEY: Final[Any] = {"pk": {"S": "CONTROL#polls"}}
_SLOT: Final = "s"
_RATE: Final = "cut_to"
_SINCE: Final = "cut_at"


class PollBudget:
    """`PollsPerSecond`."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        *,
        per_second: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Share the budget with all functions that use this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._per_second = per_second
        self._now = now
        self._item: Mapping[str, Any] = {}
        """As last seen; what it says may be old, and only a condition counts."""

    def reserve(self, wait: int) -> int:
        """Take a read out of the budget; return after how many seconds it may be made.

        Args:
            wait: seconds to when it is wanted; what is returned is never less.

        """
        now = self._now().timestamp()
        wanted = math.floor((now + wait) / SLOT_SECONDS)
        slot = self._slot_with_room(wanted, now)
        for _ in range(_TRIES):
            if self._take(slot, now):
                break
            self._read()
            slot = self._slot_with_room(slot, now)
        # After so many lost races the read is made uncounted, in a slot that just had room.
        if slot == wanted:
            return wait
        # Those that were moved here come one after the other, not all when the slot begins.
        turn = self._slots().get(slot, 0) / self._room(slot) * SLOT_SECONDS
        return max(wait, math.ceil(slot * SLOT_SECONDS - now + min(turn, SLOT_SECONDS)))

    def cut(self) -> None:
        """The vendor throttles reads: halve the budget for all."""
        now = self._now().timestamp()
        self._read()
        halved = max(LEAST_A_SECOND, self._rate(now) / 2)
        # If the condition fails, another read of the same moment has cut it already.
        update_if(
            self._dynamodb,
            self._table,
            _KEY,
            update=f"SET {_RATE} = :rate, {_SINCE} = :now",
            condition=f"attribute_not_exists({_SINCE}) OR {_SINCE} < :earlier",
            values={
                ":rate": {"N": f"{halved:.3f}"},
                ":now": {"N": f"{now:.3f}"},
                ":earlier": {"N": f"{now - ONE_CUT_SECONDS:.3f}"},
            },
        )

    def _take(self, slot: int, now: float) -> bool:
        name = f"{_SLOT}{slot}"
        stale = sorted(old for old in self._slots() if old < now / SLOT_SECONDS - 2)
        stale = stale[:_MOST_REMOVED]
        remove = " REMOVE " + ", ".join(f"{_SLOT}{old}" for old in stale) if stale else ""
        item = update_if(
            self._dynamodb,
            self._table,
            _KEY,
            update=f"ADD {name} :one{remove}",
            condition=f"attribute_not_exists({name}) OR {name} < :room",
            values={":one": {"N": "1"}, ":room": {"N": str(self._room(slot))}},
            returns="ALL_NEW",
        )
        if item is None:
            return False
        self._item = item
        return True

    def _read(self) -> None:
        answer = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True)
        self._item = answer.get("Item", {})

    def _slots(self) -> dict[int, int]:
        return {
            int(name.removeprefix(_SLOT)): int(value["N"])
            for name, value in self._item.items()
            if name.startswith(_SLOT)
        }

    def _slot_with_room(self, wanted: int, now: float) -> int:
        taken = self._slots()
        slot = max(wanted, math.floor(now / SLOT_SECONDS))
        while taken.get(slot, 0) >= self._room(slot):
            slot += 1
        return slot

    def _room(self, slot: int) -> int:
        """Return how many reads a slot holds; at a low rate, one in every so many slots."""
        reads = self._rate(slot * SLOT_SECONDS) * SLOT_SECONDS
        return max(1, math.floor(reads))

    def _rate(self, at: float) -> float:
        """Return the reads a second that are allowed at a time (seconds since the epoch)."""
        if _RATE not in self._item:
            return self._per_second
        cut_to, since = float(self._item[_RATE]["N"]), float(self._item[_SINCE]["N"])
        doublings = min(max(0.0, at - since) / RECOVERY_SECONDS, 20.0)
        allowed: float = min(self._per_second, cut_to * 2.0**doublings)
        return allowed
