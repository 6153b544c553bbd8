"""Fixtures of the command line's tests."""

import pytest

from tests.cli_runner import Shell
from tests.factories import Aws


@pytest.fixture
def shell(table: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Give a shell in front of an empty stack, which it names."""
    monkeypatch.setenv("CATWALK_STACK", "catwalk")
    return Shell(table, monkeypatch, capsys)
