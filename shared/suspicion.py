"""Whether a refusal is about one photo or about the account: what became of the others tells.

The vendor's answer alone does not always tell. A firewall that dislikes one photo's URL answers 403
like one that has blocked the whole account, and even "no credits" may be wrong for all but one.
What is known is kept in two places:

    the photo's record    how often it was refused in this attempt, and when (`Refusals`)
    the breaker's item    which photos were refused since one went through, and when one last did

A refusal after which another photo went through was about the photo. After some of those the photo
ends, and before that it pauses nobody any more. As long as none goes through, an answer that
clearly speaks of the account is believed, and no photo ends. An answer that does not tell
(`Trouble.DENIED`) pauses submission only if several photos got it; a photo that gets it alone
waits by itself, and ends after a bounded number of tries.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.clock import iso, later
from shared.models import Refusals
from shared.vmake.client import Trouble

DOUBTFUL: Final = frozenset({Trouble.KEY, Trouble.CREDITS, Trouble.ADDRESS, Trouble.DENIED})
"""Refusals that may be about the account or about one photo."""
TRIES: Final = 3
"""A photo is refused so many times before it ends, if others go through."""
TRIES_ALONE: Final = 7
"""The same if none goes through and the answer does not tell: over about ten minutes."""
MANY: Final = 3
"""So many photos that are denied, and none that goes through, are trouble of all photos."""
FIRST_WAIT_SECONDS: Final = 10.0
"""How long a photo waits by itself after a refusal; doubled each time."""
MAX_WAIT_SECONDS: Final = 900.0
_ALONE: Final = 3
"""Evidence of a refusal after which the next photo went through."""
_WITH_OTHERS: Final = 1
"""Evidence of a refusal after which others were refused too before one went through: most likely
the account was in trouble then."""
_ENOUGH: Final = 2 * _ALONE
"""Evidence against a photo for which the vendor clearly speaks of the account."""


@dataclass(frozen=True)
class Passed:
    """A photo went through although others had been refused."""

    at: str
    """ISO 8601: when that photo was given the way."""
    others: int
    """How many photos had been refused by then, since one had gone through before."""


def refused_again(
    before: Refusals | None, trouble: Trouble, *, now: datetime, passed: Passed | None, many: bool
) -> Refusals:
    """Return what is known of a photo after one more refusal.

    Args:
        before: what was known of it.
        trouble: what this refusal says.
        now: when it came.
        passed: the last photo that went through after a refusal.
        many: whether this trouble is one of many photos; then the try does not count.

    """
    count, evidence = (before.count, before.evidence) if before else (0, 0)
    if before is not None and passed is not None and passed.at > before.at:
        evidence += _ALONE if passed.others <= 1 else _WITH_OTHERS
    known = Refusals(count=count, evidence=evidence, at=iso(now))
    counts = not many or trouble is not Trouble.DENIED or is_known(known, trouble)
    known = known.model_copy(update={"count": count + counts})
    if trouble is Trouble.DENIED or is_known(known, trouble):
        seconds = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** max(0, known.count - 1))
        known = known.model_copy(update={"until": later(now, seconds)})
    return known


def is_known(refusals: Refusals, trouble: Trouble) -> bool:
    """Whether others went through after the photo was refused: its next refusal is its own."""
    return refusals.evidence >= (1 if trouble is Trouble.DENIED else _ALONE)


def ends(refusals: Refusals, trouble: Trouble) -> bool:
    """Whether the photo was refused often enough to end."""
    if trouble is Trouble.DENIED:
        needed = TRIES if is_known(refusals, trouble) else TRIES_ALONE
        return refusals.count >= needed
    return refusals.count >= TRIES and refusals.evidence >= _ENOUGH
