"""Hostile servers: every answer ends in the right status, in little memory and in time.

`make hostile` measures all of them with the functions' own limits, for docs/reliability.md.
"""

from typing import Final

import pytest

from tests.hostile.cases import HARMLESS, HOSTILE, measure, misses

SECONDS: Final = 5.0
"""The deadline of a request in this test, instead of 240, 75 and 30 s."""
API: Final = frozenset(
    {
        *("nested_gzip_bomb", "redirect_drips", "redirect_odd", "head_drips", "informational_fast"),
        *("chunk_extension_drips", "body_endless", "wide_json", "bomb_429"),
    }
)
"""The vendor's answers that `make test` tries with poll and submit, which share their code."""


@pytest.mark.timeout(400)
def test_hostile_answers_end_in_time_in_little_memory_and_in_the_right_status() -> None:
    """No hostile answer exceeds its deadline, takes 96 MiB more than a harmless one, or crashes."""
    cases = [case for case in HOSTILE if case.function == "finalize" or case.answer in API]
    found = measure(cases, seconds=SECONDS, parallel=8)
    assert misses((*HARMLESS, *cases), found) == []
