"""What goes to a terminal or into a pipe."""

import io
import json
import sys

import pytest

from cli.terminal.output import as_json, common_folder
from cli.terminal.words import REVIEW_WORDS, STATUS_WORDS
from shared.models import JobStatus, ReviewState

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


@pytest.mark.parametrize(
    ("keys", "folder"),
    [
        (["summer/a.jpg", "summer/b.jpg"], "summer/"),
        (["summer/a.jpg", "summer/deep/b.jpg"], "summer/"),
        (["summer 1/a.jpg", "summer 2/a.jpg"], ""),
        (["a/b/c.jpg", "a/b/d.jpg", "a/x.jpg"], "a/"),
        (["a.jpg", "b.jpg"], ""),
        (["a/b.jpg", ""], ""),
        (["summer/a.jpg"], ""),
        (["/a/b.jpg", "/a/c.jpg"], "/a/"),
        ([], ""),
    ],
)
def test_common_folder(keys: list[str], folder: str) -> None:
    """The folder that all photos share is said once; a single photo keeps its whole key."""
    assert common_folder(keys) == folder
    assert all(key.startswith(folder) for key in keys)


def test_every_status_has_a_word() -> None:
    """Each status and review has a name of its own."""
    assert set(STATUS_WORDS) == set(JobStatus)
    assert len(set(STATUS_WORDS.values())) == len(JobStatus)
    assert set(REVIEW_WORDS) == set(ReviewState)
