"""Fixtures of the command line's tests."""

import pytest

from tests.kit import Aws
from tests.shell import Shell


@pytest.fixture
def shell(table: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Give a shell in front of an empty stack, which it names."""
    monkeypatch.setenv("CATWALK_STACK", "catwalk")
    return Shell(table, monkeypatch, capsys)
