"""Decides whether a refusal is about one photo or about the account, by the outcomes of others.

The vendor's answer alone does not always say it. A firewall that blocks one photo's URL answers
403, and so does one that blocks the whole account. Even "no credits" may be wrong for one photo
only. The evidence is kept in two places:

    the photo's record    how often it was refused in this attempt, and the evidence (`Refusals`)
    the breaker's item    which photos were refused since the last success, and which of them are
                          cleared: another photo went through in spite of their refusal

There are two kinds of refusal:

- The answer is about the account (key, credits, address). Submission pauses. Meanwhile at most
  `MANY` photos that were never refused are tried, one at a time. If the first of them goes through,
  the account works, and the refused photo is cleared. A success after the pause clears no photo,
  since the account may have been topped up.
- The answer gives no reason (`Trouble.DENIED`). Only this photo waits. Submission pauses if `MANY`
  photos got this answer and none went through. Any success clears all of them.

"Cleared" means that the refusal is known to be about the photo. A refusal of a cleared photo does
not pause submission; after several refusals its job fails. A photo that was never cleared fails
only if the answers give no reason and no other photo gets the same answer.
"""

from datetime import datetime
from typing import Final

from shared.clock import later
from shared.models import Refusals
from shared.vmake.answers import Trouble

DOUBTFUL: Final = frozenset({Trouble.KEY, Trouble.CREDITS, Trouble.ADDRESS, Trouble.DENIED})
"""Refusals that may be about the account or about one photo."""
TRIES: Final = 3
"""A cleared photo's job fails after this many refusals."""
TRIES_ALONE: Final = 7
"""A job fails after this many refusals without a reason if no other photo went through: with
backoff, after about ten minutes."""
MANY: Final = 3
"""If this many photos are refused and none goes through, the refusals are about the account."""
FIRST_WAIT_SECONDS: Final = 10.0
"""A refused photo's first wait; doubled with each refusal."""
MAX_WAIT_SECONDS: Final = 900.0
"""A refused photo's longest wait."""
_CLEARED_TWICE: Final = 2
"""If the answers are about the account, a photo must be cleared this often before its job fails."""


def refused_again(
    before: Refusals | None, trouble: Trouble, *, now: datetime, cleared: bool, many: bool
) -> Refusals:
    """Return a photo's refusals after one more.

    Args:
        before: its refusals so far in this attempt.
        trouble: the kind of this refusal.
        now: when the refusal came.
        cleared: whether another photo's success contradicted the previous refusal.
        many: whether `MANY` photos are denied; then a denial of this photo does not count.

    """
    count, evidence = (before.count, before.evidence + cleared) if before else (0, 0)
    known = Refusals(count=count, evidence=evidence)
    own = trouble is Trouble.DENIED or is_known(known)
    count += is_known(known) or not (many and trouble is Trouble.DENIED)
    wait = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** max(0, count - 1))
    return Refusals(count=count, evidence=evidence, until=later(now, wait) if own else None)


def is_known(refusals: Refusals) -> bool:
    """Whether the photo was cleared: its refusals say nothing about the account."""
    return refusals.evidence > 0


def ends(refusals: Refusals, trouble: Trouble) -> bool:
    """Whether the photo was refused often enough that its job fails."""
    if trouble is Trouble.DENIED:
        return refusals.count >= (TRIES if is_known(refusals) else TRIES_ALONE)
    return refusals.count >= TRIES and refusals.evidence >= _CLEARED_TWICE
