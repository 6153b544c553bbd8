"""The result of the small storm beside the other tests; the file's name sorts last."""

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Beside


@pytest.mark.skipif(sys.platform != "linux", reason="workers are found through /proc")
# The photo of a killed worker continues when its lease has expired, after three minutes.
@pytest.mark.timeout(900)
def test_the_storm(storm: "Beside", capsys: pytest.CaptureFixture[str]) -> None:
    """Random kills lose no photo and charge none twice; `make storm` runs longer."""
    code = storm.process.wait()
    said = storm.log.read_text()
    with capsys.disabled():
        print(f"\n\n{said[said.find('  photos dropped') :]}")
    assert code == 0, said
