"""What the documents name is there."""

import re
from pathlib import Path

from bench import report
from shared.models import ErrorCode, JobStatus

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_reliability_table_names_is_there() -> None:
    """A test that was renamed or removed is noticed in docs/reliability.md."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    path, named = "", 0
    for match in re.finditer(r"`((?:tests/[a-z0-9_/]+\.py)?)(?:::(test_\w+))?`", text):
        path = match[1] or path
        source = (ROOT / path).read_text()
        if match[2]:
            assert f"def {match[2]}(" in source, f"{path}::{match[2]}"
            named += 1
    assert named > 40


def test_every_error_code_and_status_is_in_the_readme() -> None:
    """Whoever meets a code finds it in the README."""
    text = (ROOT / "README.md").read_text()
    assert [str(name) for name in (*ErrorCode, *JobStatus) if f"`{name}`" not in text] == []


def test_every_document_that_is_linked_to_is_there() -> None:
    """No link between the documents leads nowhere."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("local/*/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_page_of_costs_is_what_its_counts_and_prices_make() -> None:
    """docs/cost.md is written by `python -m bench.report cost`, not by hand."""
    assert report.COST_PAGE.read_text() == report.cost_page(*report.read_costs())
