"""How fast photos are submitted to a vendor that throttles: found by trying, since it is unknown.

Submits take turns, `gap` seconds apart. A submit that is refused makes the gap larger than the one
it was sent at; one that goes through makes it smaller than that: at first by much, then by hardly
anything as it nears what was refused, and then by ever more (TCP's CUBIC finds its way so). The
pace is so most of the time close to what the vendor takes, and a limit that was lifted is noticed
soon. Many that were sent at the same gap say the same thing, and change it once.
"""

from dataclasses import dataclass
from typing import Final

START_GAP: Final = 0.5
"""Seconds between two submits after the first refusal ever."""
SEARCHING: Final = 1_000
"""The run that the first pace begins with: it grows as fast as any until the next refusal."""
MIN_GAP: Final = 0.005
"""Seconds. No stack of ours submits faster."""
MAX_GAP: Final = 60.0
"""Seconds. A vendor that takes less is met by pauses."""
CUT: Final = 0.8
"""A refusal takes the pace down to this share of what was refused."""
PLATEAU: Final = 20
"""After so many changes since a refusal the pace is back where it was refused, and hardly grows.
From there on it tries for more."""
_CURVE: Final = 3 * (1 - CUT) / PLATEAU
"""By this share the first change after a refusal shortens the gap."""
MIN_GROWTH: Final = 0.001
MAX_GROWTH: Final = 0.5
"""No change shortens the gap by less, or by more."""
PACED_SECONDS: Final = 600.0
"""So long after a refusal submits still take turns. Then a lone photo goes out at once again, for
no more than a look at the breaker."""
PACED_GAPS: Final = 60
"""And for at least so many gaps."""


@dataclass(frozen=True)
class SubmitRate:
    """Submits take turns so many seconds apart."""

    gap: float
    run: int
    """How many times the gap was shortened since the last refusal."""
    slot: float
    """When the last turn is that somebody took: seconds since 1970."""

    @property
    def faster(self) -> float:
        """The gap after a submit at this pace went through."""
        share = min(MAX_GROWTH, max(MIN_GROWTH, _CURVE * (self.run / PLATEAU - 1) ** 2))
        return max(MIN_GAP, self.gap * (1 - share))

    @property
    def slower(self) -> float:
        """The gap after a submit at this pace was refused."""
        return min(MAX_GAP, self.gap / CUT)


def paced_for(gap: float) -> float:
    """Return for how many seconds after a refusal submits take turns."""
    return max(PACED_SECONDS, PACED_GAPS * gap)
