"""What goes to a terminal or into a pipe."""

import io
import json
import sys

import pytest

from cli.terminal.output import as_json

UNSAFE = {
    "a bell": "\a",
    "a new line": "\n",
    "an escape": "\x1b",
    "delete": "\x7f",
    "the C1 control that begins a sequence": "\x9b",
    "a line separator": "\u2028",
    "a right-to-left override": "\u202e",
    "an isolate": "\u2066",
    "a zero-width joiner": "\u200d",
    "a byte-order mark": "\ufeff",
    "a tag of the supplementary planes": "\U000e0041",
    "a lone surrogate": "\udc9b",
}


@pytest.mark.parametrize("character", UNSAFE.values(), ids=UNSAFE)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_commands_no_terminal(
    monkeypatch: pytest.MonkeyPatch, character: str, indent: int | None, encoding: str
) -> None:
    """A photo's name that holds control or format characters is escaped, and the JSON is valid."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    document = {f"k{character}": [f"Kleid für Jörg 👗{character}.jpg"]}
    written = as_json(document, indent=indent)
    assert json.loads(written) == document
    assert all(line.isprintable() for line in written.split("\n"))
    assert len(written.split("\n")) == (5 if indent else 1)


def test_json_keeps_what_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters of any script stay letters where the output takes them."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert as_json("Übergröße 夏 👗") == '"Übergröße 夏 👗"'
