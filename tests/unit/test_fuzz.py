"""Made-up inputs for everything that reads strangers' bytes; `make fuzz` tries many more."""

import pytest
from hypothesis import given

from tests.fuzz.surfaces import SURFACES, wire


@pytest.mark.parametrize("name", SURFACES)
def test_no_input_crashes(name: str) -> None:
    """Whatever strangers send is taken, refused or waited out: nothing else is raised."""
    surface = SURFACES[name]
    with wire():
        given(surface.inputs)(surface.check)()
