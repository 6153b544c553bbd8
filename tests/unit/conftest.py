"""Fixtures of the command line's tests."""

import pytest

from tests.cli_runner import Shell
from tests.factories import Aws


@pytest.fixture
def shell(table: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Return a shell that uses an empty stack."""
    monkeypatch.setenv("CATWALK_STACK", "catwalk")
    return Shell(table, monkeypatch, capsys)
