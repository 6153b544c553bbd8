"""The gate before each POST: it asks the circuit breaker, the submit rate and the credit limit.

SubmitFunction asks in this order, and a photo that one of them holds back waits in the queue:

    ask             circuit breaker: is submission paused? Short pauses are waited for here.
    wait_for_slot   submit rate: while the vendor throttles, submits are spaced out.
    reserve_credit  credit limit: is one of today's credits left?
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from shared.limits.circuit_breaker import (
    PATIENCE_SECONDS,
    Candidate,
    CircuitBreaker,
    Paused,
    Permit,
    Slot,
)
from shared.limits.credit_limit import CreditLimit, Reserved, SpentUp
from shared.models import Job
from shared.notify.metrics import Metrics

NAP_SECONDS: Final = 4.0
"""Pauses up to this long are waited for inside the function: shorter than a trip of all photos
through the queue."""
DOZE_SECONDS: Final = 1.0
"""After a longer wait for its slot, a photo asks the circuit breaker again before it is sent."""


@dataclass
class HeldPermit:
    """The permit that a photo holds until its POST."""

    permit: Permit
    used: bool = False
    """Whether a POST was sent with it, or the circuit breaker recorded why none was sent."""


class SubmitGate:
    """Says whether a photo may be sent now."""

    def __init__(
        self,
        *,
        breaker: CircuitBreaker,
        credit_limit: CreditLimit,
        metrics: Metrics,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask these; a submit's outcome goes to `breaker` and `credit_limit` directly."""
        self.breaker = breaker
        self.credit_limit = credit_limit
        self._metrics = metrics
        self._sleep = sleep

    def ask(self, job: Job, spare_seconds: Callable[[], float]) -> Permit | Paused:
        """Ask the circuit breaker, and wait here for the end of a short pause.

        Args:
            job: the photo's job.
            spare_seconds: returns for how long the invocation can still wait.

        """
        while True:
            permit = self.breaker.ask(Candidate(job.job_id, job.refusals is not None))
            longest = min(NAP_SECONDS, _patience(spare_seconds))
            if isinstance(permit, Permit) or permit.unpublished is not None:
                return permit
            if permit.seconds > longest:
                return permit
            self._sleep(permit.seconds)

    @contextmanager
    def holding(self, permit: Permit) -> Iterator[HeldPermit]:
        """Hold a permit; if no POST uses it, another photo may be the probe."""
        held = HeldPermit(permit)
        try:
            yield held
        except Exception:
            self._give_back(held)
            raise
        self._give_back(held)

    def _give_back(self, held: HeldPermit) -> None:
        if not held.used:
            self.breaker.give_back(held.permit)

    def wait_for_slot(
        self, job: Job, permit: Permit, spare_seconds: Callable[[], float]
    ) -> Permit | Paused:
        """Wait here for the photo's slot, unless it is too far ahead.

        Args:
            job: the photo's job.
            permit: what `ask` has returned.
            spare_seconds: returns for how long the invocation can still wait.

        """
        while permit.rate is not None:
            slot = self.breaker.take_slot(permit, _patience(spare_seconds))
            patience = _patience(spare_seconds)
            if isinstance(slot, Paused) and slot.seconds > patience:
                return slot
            if isinstance(slot, Slot) and slot.seconds > patience + DOZE_SECONDS:
                # The rate was cut after `ask`. A POST that begins so late may be killed.
                return Paused(slot.seconds, "the vendor throttles, and the next slot is far off")
            if slot is not None:
                self._sleep(slot.seconds)
            if isinstance(slot, Slot) and slot.seconds <= DOZE_SECONDS:
                return slot.permit
            seen = self.ask(job, spare_seconds)
            if isinstance(seen, Paused) or seen.pauses:
                return seen
            if isinstance(slot, Slot):
                return slot.permit
            permit = seen
        return permit

    def reserve_credit(self, job: Job) -> Reserved | Paused:
        """Reserve one of today's credits; all deliveries of an attempt share one reservation."""
        reserved = self.credit_limit.reserve(job.execution_name)
        if isinstance(reserved, SpentUp):
            self._metrics.credits_used(100)
            reason = "the credits of today (DailyCreditLimit) are used up"
            return Paused(reserved.seconds, reason, watched=True)
        if reserved.used is not None:
            self._metrics.credits_used(reserved.used)
        return reserved


def _patience(spare_seconds: Callable[[], float]) -> float:
    """Return for how many seconds a photo may wait here."""
    return min(PATIENCE_SECONDS, spare_seconds())
