"""Everything that the documents name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from bench import report
from cli.main import app
from shared.models import ErrorCode, JobStatus

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("local/*/*.md")]
)
OF_THIS_HOUSE = ("bench", "cli", "docs", "events", "functions", "local", "shared", "tests")
"""Folders of the repository. A file in them that a document names must exist."""
OLD = {"docs/decisions.md", "CHANGELOG.md"}
"""Pages about the past; they may name files and options that no longer exist."""


def _text(document: str) -> str:
    return (ROOT / document).read_text()


def _lines_of_shell(document: str) -> Iterator[str]:
    """Return the commands of a document: from shell blocks and from code in sentences."""
    text = _text(document)
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", prose)


def _words(line: str) -> list[str]:
    """Return a command's words without its comment; an empty list for other code."""
    try:
        return shlex.split(line.replace("…", ""), comments=True)
    except ValueError:
        return []


def _anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_test_that_the_reliability_table_names_is_there() -> None:
    """docs/reliability.md names no test that does not exist."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    path, named = "", 0
    for match in re.finditer(r"`((?:tests/[a-z0-9_/]+\.py)?)(?:::(test_\w+))?`", text):
        path = match[1] or path
        source = (ROOT / path).read_text()
        if match[2]:
            assert f"def {match[2]}(" in source, f"{path}::{match[2]}"
            named += 1
    assert named > 40


def test_every_error_code_and_status_is_explained() -> None:
    """docs/photos.md explains each error code and status."""
    text = _text("docs/photos.md")
    assert [str(name) for name in (*ErrorCode, *JobStatus) if f"| `{name}` |" not in text] == []


def test_the_readme_is_short() -> None:
    """The README is short."""
    assert len(_text("README.md").splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_document_that_is_linked_to_is_there(document: str) -> None:
    """Each link between documents leads to an existing page and heading."""
    here = ROOT / document
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", here.read_text())
    for target, anchor in links:
        page = here.parent / target if target else here
        assert page.exists(), target
        if anchor:
            assert anchor in _anchors(page), f"{target}#{anchor}"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name not in OLD])
def test_every_file_that_is_named_is_there(document: str) -> None:
    """The documents name no file that does not exist."""
    named = re.findall(rf"`((?:{'|'.join(OF_THIS_HOUSE)})/[\w./-]+)`", _text(document))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_is_there(document: str) -> None:
    """The documents name no make target that does not exist."""
    targets = set(re.findall(r"^([a-z0-9-]+):", _text("Makefile"), re.MULTILINE))
    for line in _lines_of_shell(document):
        words = _words(line)
        if words[:1] == ["make"]:
            named = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            assert named <= targets, line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_catwalk_command_and_option_is_there(document: str) -> None:
    """The documents name no command or option of `catwalk` that does not exist."""
    group = typer.main.get_group(app)
    of_all = {"--help", "--install-completion"}
    of_all |= {option for parameter in group.params for option in parameter.opts}
    for line in _lines_of_shell(document):
        words = _words(line)
        if words[:1] != ["catwalk"]:
            continue
        names = [word for word in words[1:] if not word.startswith("-")]
        options = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        known = set(of_all)
        if names and names[0] in group.commands:
            for parameter in group.commands[names[0]].params:
                known |= {*parameter.opts, *parameter.secondary_opts}
        else:
            assert not names, line
        assert options <= known, line


def test_the_page_of_costs_is_what_its_counts_and_prices_make() -> None:
    """docs/cost.md is written by `python -m bench.report cost`, not by hand."""
    assert report.COST_PAGE.read_text() == report.cost_page(*report.read_costs())
