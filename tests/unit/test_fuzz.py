"""Generated inputs for all code that reads bytes from outside; `make fuzz` tries many more."""

import pytest
from hypothesis import given

from tests.fuzz.surfaces import SURFACES, wire


@pytest.mark.parametrize("name", SURFACES)
def test_no_input_crashes(name: str) -> None:
    """Every input is accepted, refused or retried; no other exception is raised."""
    surface = SURFACES[name]
    with wire():
        given(surface.inputs)(surface.check)()
