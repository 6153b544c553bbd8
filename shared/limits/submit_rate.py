"""How fast photos are sent to a vendor that throttles. Its limit is unknown and found by trying.

Submits are `gap` seconds apart. A refused submit makes the gap larger than the one it was sent at;
a submit that goes through makes it smaller. The gap shrinks fast at first, hardly at all near the
rate that was refused, and faster again beyond it, as in TCP's CUBIC. So the rate stays close to the
vendor's limit most of the time, and a limit that was lifted is noticed soon. Submits that were sent
at the same gap change it once.
"""

from dataclasses import dataclass
from typing import Final

START_GAP: Final = 0.5
"""Seconds between two submits after the first refusal ever."""
SEARCHING: Final = 1_000
"""The run that the first rate begins with: it grows as fast as possible until a refusal."""
MIN_GAP: Final = 0.005
"""Seconds; the fastest rate."""
MAX_GAP: Final = 60.0
"""Seconds; the slowest rate. If the vendor refuses this too, submission pauses."""
CUT: Final = 0.8
"""A refusal cuts the rate to this share of the refused one."""
PLATEAU: Final = 20
"""After this many changes since a refusal the rate is back where it was refused, and hardly grows.
After that it grows faster again."""
_CURVE: Final = 3 * (1 - CUT) / PLATEAU
"""The share by which the first change after a refusal shortens the gap."""
MIN_GROWTH: Final = 0.001
MAX_GROWTH: Final = 0.5
"""The least and the greatest share by which one change shortens the gap."""
PACED_SECONDS: Final = 600.0
"""For this long after a refusal submits are spaced out. After that a photo needs only the circuit
breaker's permit."""
PACED_GAPS: Final = 60
"""Submits are spaced out for at least this many gaps."""


@dataclass(frozen=True)
class SubmitRate:
    """How far apart submits are sent."""

    gap: float
    """Seconds between two submits."""
    run: int
    """How many times the gap was shortened since the last refusal."""
    slot: float
    """When the last slot that was taken begins: seconds since 1970."""

    @property
    def faster(self) -> float:
        """The gap after a submit at this rate went through."""
        share = min(MAX_GROWTH, max(MIN_GROWTH, _CURVE * (self.run / PLATEAU - 1) ** 2))
        return max(MIN_GAP, self.gap * (1 - share))

    @property
    def slower(self) -> float:
        """The gap after a submit at this rate was refused."""
        return min(MAX_GAP, self.gap / CUT)


def paced_for(gap: float) -> float:
    """Return for how many seconds after a refusal submits are spaced out."""
    return max(PACED_SECONDS, PACED_GAPS * gap)
