"""The rate limiter of reads: at most `PollsPerSecond` polls a second, for all jobs of the stack.

One item in JobsTable, `CONTROL#polls`, counts the reads that are planned for each slot of
`SLOT_SECONDS`. If a wait would end in a full slot, it is extended to the next slot with room. Each
time that the vendor throttles reads, the rate is halved; then it doubles every minute until it is
back.
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
"""The lowest rate: one read every five seconds, however much the vendor throttles."""
RECOVERY_SECONDS: Final = 60.0
"""After throttling, the rate doubles in this time, until it is back at `PollsPerSecond`."""
ONE_CUT_SECONDS: Final = 10.0
"""Refusals within this time cut the rate once: the reads were sent at the same rate."""
_TRIES: Final = 4
_MOST_REMOVED: Final = 100
"""At most this many old slots are removed by one write, since DynamoDB's expressions have at most
4 KB. The next writes remove the others."""
_KEY: Final[Any] = {"pk": {"S": "CONTROL#polls"}}
_SLOT: Final = "s"
_RATE: Final = "cut_to"
_SINCE: Final = "cut_at"


class PollRateLimiter:
    """`PollsPerSecond`."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        *,
        per_second: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Share the rate with all functions that use this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._per_second = per_second
        self._now = now
        self._item: Mapping[str, Any] = {}
        """The item as last read. It may be out of date, so each write has a condition."""

    def reserve(self, wait: int) -> int:
        """Reserve a read, and return the seconds to wait until it may be made.

        Args:
            wait: the wait that is wanted, in seconds; the returned one is never shorter.

        """
        now = self._now().timestamp()
        wanted = math.floor((now + wait) / SLOT_SECONDS)
        slot = self._slot_with_room(wanted, now)
        for _ in range(_TRIES):
            if self._take(slot, now):
                break
            self._read()
            slot = self._slot_with_room(slot, now)
        # If other functions were faster `_TRIES` times, the read is made without being counted.
        if slot == wanted:
            return wait
        # Reads that were moved to this slot are spread over it, not all made at its beginning.
        offset = self._slots().get(slot, 0) / self._room(slot) * SLOT_SECONDS
        return max(wait, math.ceil(slot * SLOT_SECONDS - now + min(offset, SLOT_SECONDS)))

    def cut(self) -> None:
        """Halve the rate for all jobs, since the vendor throttles reads."""
        now = self._now().timestamp()
        self._read()
        halved = max(LEAST_A_SECOND, self._rate(now) / 2)
        # If the condition fails, another read of the same time has cut the rate already.
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
        """Return how many reads a slot holds; at least one."""
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
