"""Whether a refusal is about one photo or about the account: what became of the others tells.

The vendor's answer alone does not always tell. A firewall that dislikes one photo's URL answers 403
like one that has blocked the whole account, and even "no credits" may be wrong for all but one.
What is known is kept in two places:

    the photo's record    how often it was refused in this attempt, and the evidence (`Refusals`)
    the breaker's item    which photos were refused since one went through, and which of them are
                          cleared: another photo went through in spite of their refusal

There are two kinds of refusal:

- The answer speaks of the account (key, credits, address). Submission pauses. Meanwhile photos that
  were never refused are tried, one at a time and at most `MANY`: if the first of them goes
  through, the account is not in trouble, and the refused photo is cleared. A success after the
  pause clears nobody: the account may have been topped up.
- The answer does not tell (`Trouble.DENIED`). The photo waits by itself. Submission pauses only if
  `MANY` photos got this answer and none went through. Any success clears all of them.

A photo that was cleared pauses nobody any more, and ends if it is refused again and again. One that
was never cleared ends only if the answer does not tell and no other photo shares its trouble.
"""

from datetime import datetime
from typing import Final

from shared.clock import later
from shared.models import Refusals
from shared.vmake.client import Trouble

DOUBTFUL: Final = frozenset({Trouble.KEY, Trouble.CREDITS, Trouble.ADDRESS, Trouble.DENIED})
"""Refusals that may be about the account or about one photo."""
TRIES: Final = 3
"""A photo is refused so many times before it ends, if others go through."""
TRIES_ALONE: Final = 7
"""The same if none goes through and the answer does not tell: over about ten minutes."""
MANY: Final = 3
"""So many photos that are refused, and none that goes through, are trouble of all photos."""
FIRST_WAIT_SECONDS: Final = 10.0
"""How long a photo waits by itself after a refusal; doubled each time."""
MAX_WAIT_SECONDS: Final = 900.0
_CLEARED_TWICE: Final = 2
"""How often a photo is cleared before it ends, if the answer speaks of the account."""


def refused_again(
    before: Refusals | None, trouble: Trouble, *, now: datetime, cleared: bool, many: bool
) -> Refusals:
    """Return what is known of a photo after one more refusal.

    Args:
        before: what was known of it.
        trouble: what this refusal says.
        now: when it came.
        cleared: whether the refusal before was contradicted by another photo's success.
        many: whether many photos are denied; then this try does not count.

    """
    count, evidence = (before.count, before.evidence + cleared) if before else (0, 0)
    known = Refusals(count=count, evidence=evidence)
    own = trouble is Trouble.DENIED or is_known(known)
    count += is_known(known) or not (many and trouble is Trouble.DENIED)
    wait = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** max(0, count - 1))
    return Refusals(count=count, evidence=evidence, until=later(now, wait) if own else None)


def is_known(refusals: Refusals) -> bool:
    """Whether the photo was cleared: its next refusal says nothing about the account."""
    return refusals.evidence > 0


def ends(refusals: Refusals, trouble: Trouble) -> bool:
    """Whether the photo was refused often enough to end."""
    if trouble is Trouble.DENIED:
        return refusals.count >= (TRIES if is_known(refusals) else TRIES_ALONE)
    return refusals.count >= TRIES and refusals.evidence >= _CLEARED_TWICE
