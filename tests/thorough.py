"""What `make test` runs in part, and `make thorough` as a whole.

`make test` has to end within minutes. Where many cases of a test go through the same code, it runs
some of them, always the same ones. A test that is marked `thorough` is left out of it.
"""

import os
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, TypeVar

import pytest

T = TypeVar("T")

THOROUGH: Final = "CATWALK_THOROUGH" in os.environ


def thorough(*values: Any, name: str | None = None) -> Any:  # pytest keeps the type to itself
    """Return a case of a parametrised test that `make test` leaves out."""
    return pytest.param(*values, id=name, marks=pytest.mark.thorough)


def one_of_each(cases: Iterable[T], kind: Callable[[T], Hashable]) -> list[T]:
    """Return the first case of each kind; in `make thorough`, all cases."""
    if THOROUGH:
        return list(cases)
    first: dict[Hashable, T] = {}
    for case in cases:
        first.setdefault(kind(case), case)
    return list(first.values())
