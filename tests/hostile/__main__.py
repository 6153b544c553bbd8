"""Measures every hostile answer with the functions' own limits; writes docs/reliability.md's table.

`make hostile`. It takes about ten minutes, most of which are waits for deadlines.
"""

import sys
from pathlib import Path
from typing import Any, Final

from tests.hostile.answers import PLAIN
from tests.hostile.cases import FUNCTION_SECONDS, HARMLESS, HOSTILE, Case, measure, misses

_PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN: Final = "<!-- made by `make hostile` -->\n"
_END: Final = "<!-- end of what `make hostile` makes -->"
_PARALLEL: Final = 12


def main() -> int:
    """Measure all cases, write the table, and print the cases that ended wrongly."""
    found = measure(HOSTILE, seconds=0, parallel=_PARALLEL)
    wrong = misses((*HARMLESS, *HOSTILE), found)
    for line in wrong:
        print(line)
    before, begin, rest = _PAGE.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{_PAGE} has no place for the table.")
    _PAGE.write_text(before + begin + _table(found) + end + after)
    print(
        f"{len(HOSTILE)} hostile answers, {len(wrong)} of them end wrongly; {_PAGE} has the table."
    )
    return bool(wrong)


def _table(found: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| function (its timeout) | the server's answer | ends in | seconds | MB more |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(case, found[case.name]) for case in HOSTILE]
    return "\n".join(lines) + "\n"


def _row(case: Case, answer: dict[str, Any]) -> str:
    plain = PLAIN.get(case.answer) or f"The result's URL is `{ascii(case.answer)[1:-1]}`"
    end = " ".join(f"{word}" if word.isupper() else f"`{word}`" for word in case.end.split())
    megabytes = max(0, answer["more"]) * 1.048576
    function = f"{case.function} ({FUNCTION_SECONDS[case.function]} s)"
    return f"| {function} | {plain} | {end} | {answer['seconds']:.0f} | {megabytes:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
