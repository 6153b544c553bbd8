"""Generates inputs for each surface for a number of seconds; prints their number and the crashes.

`make fuzz SECONDS=600`. A crash is printed with the smallest input that makes it.
"""

import argparse
import random
import sys
import time
import traceback
from typing import Any, Final

from hypothesis import HealthCheck, given, seed, settings

from tests import guard
from tests.fuzz.surfaces import SURFACES, Surface, wire

BATCH: Final = 500
"""Inputs of one batch. Hypothesis has no time limit, so the time is checked between batches."""
_SETTINGS: Final = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def main() -> int:
    """Fuzz the surfaces; return 1 if anything crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for each surface")
    parser.add_argument("--seed", type=int, default=None, help="of the first batch")
    parser.add_argument("surfaces", nargs="*", help=", ".join(SURFACES))
    arguments = parser.parse_args()
    first = arguments.seed if arguments.seed is not None else random.randrange(2**32)  # noqa: S311
    guard.install()
    crashed = 0
    print(f"seed {first}")
    for name in arguments.surfaces or SURFACES:
        inputs, crashes = fuzz(SURFACES[name], arguments.seconds, first)
        crashed += crashes
        print(f"{name:15} {inputs:>12,} inputs  {crashes:>3} crashes", flush=True)
    return bool(crashed)


def fuzz(surface: Surface, seconds: float, first: int) -> tuple[int, int]:
    """Fuzz for this many seconds; return the number of inputs and of batches that crashed."""
    inputs = crashes = 0

    def check(value: Any) -> None:
        nonlocal inputs
        inputs += 1
        surface.check(value)

    end = time.monotonic() + seconds
    with wire():
        while time.monotonic() < end:
            batch = seed(first + inputs)(_SETTINGS(given(surface.inputs)(check)))
            try:
                batch()
            except Exception:  # noqa: BLE001  each one is a crash, and is printed
                crashes += 1
                traceback.print_exc()
    return inputs, crashes


if __name__ == "__main__":
    sys.exit(main())
