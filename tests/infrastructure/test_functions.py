"""Every list of the functions agrees with the template."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from bench import cost
from local.stack import sam_local
from local.stack.stack import Stack
from local.stack.state import Address, StateFolder
from tests.e2e import storm
from tests.watched import template

ROOT: Final = Path(__file__).parents[2]
FUNCTIONS: Final[dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in template()["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
FOLDERS: Final = {name.removesuffix("Function").lower() for name in FUNCTIONS}
KEY_ID: Final = "AKIAOFTHISSTACK"
OF_A_PHOTO: Final = set(FUNCTIONS) - {"ReconcileFunction"}
"""The functions on a photo's way; reconcile is not among them."""


def _text(name: str) -> str:
    return (ROOT / name).read_text()


def _tuple(name: str, constant: str) -> list[str]:
    """Return a constant of a module that is not imported here."""
    match = re.search(rf"^{constant}: Final = (\(.*\))$", _text(name), re.MULTILINE)
    assert match
    return re.findall(r'"(\w+)"', match[1])


def _variables() -> dict[str, str]:
    """Return the environment for `sam local invoke` of a running stack."""
    outputs = dict.fromkeys(template()["Outputs"], "example")
    address = Address(
        "https://127.0.0.1:4566", "/ca.pem", "https://127.0.0.1:9000", outputs, access_key=KEY_ID
    )
    return sam_local.variables(Stack.at(address, StateFolder(ROOT / "nowhere")))


@pytest.mark.parametrize(
    ("place", "listed"),
    [
        ("functions/", {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")}),
        ("bench/imports.py", set(_tuple("bench/imports.py", "OUR_FUNCTIONS"))),
        (
            "local/stack/sam_local.py",
            {name.partition("/")[0] for name in sam_local.EXAMPLES.values()},
        ),
        (
            "tests/integration/conftest.py",
            set(re.findall(r'"(\w+)": \1_function', _text("tests/integration/conftest.py"))),
        ),
        (
            "tests/infrastructure/test_package.py",
            set(re.findall(r'Function": "(\w+)"', _text("tests/infrastructure/test_package.py"))),
        ),
    ],
)
def test_a_list_of_all_functions_folders(place: str, listed: set[str]) -> None:
    """Each list of all functions by folder is complete."""
    assert listed == FOLDERS, place


@pytest.mark.parametrize(
    ("place", "listed"),
    [
        ("local/stack/sam_local.py", set(sam_local.EXAMPLES)),
        (
            "docs/develop.md",
            set(
                re.findall(r"sam local invoke (\w+) --config-file .*\\\n", _text("docs/develop.md"))
            ),
        ),
        ("events/README.md", set(re.findall(r"local invoke (\w+)", _text("events/README.md")))),
        (
            "tests/infrastructure/test_template.py",
            set(re.findall(r'"(\w+Function)"', _text("tests/infrastructure/test_template.py"))),
        ),
        (
            "tests/infrastructure/test_operations.py",
            set(re.findall(r'"(\w+Function)"', _text("tests/infrastructure/test_operations.py"))),
        ),
    ],
)
def test_a_list_of_all_functions(place: str, listed: set[str]) -> None:
    """Each list of all functions by logical id is complete."""
    assert listed == set(FUNCTIONS), place


def test_what_is_left_out_on_purpose() -> None:
    """The costs and the storm cover the functions on a photo's way."""
    assert {f"{name}Function" for name in cost.FUNCTIONS} == OF_A_PHOTO
    assert set(storm.FUNCTIONS) == OF_A_PHOTO


def test_the_payloads_to_try_a_function_with_are_there() -> None:
    """The lines of docs/develop.md and `make sam-local` name the same files of events/."""
    page = _text("docs/develop.md")
    for function, payload in sam_local.EXAMPLES.items():
        assert (ROOT / "events" / payload).is_file()
        line = f'sam local invoke {function} --config-file "$PWD/.catwalk/sam-local.toml" \\\n  -e '
        assert f"{line}.catwalk/sam-local/events/{payload}\n" in page


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sam_local_gives_a_function_what_the_stack_would(function: str) -> None:
    """What the template takes from its resources is given in the container, by the same name."""
    own = FUNCTIONS[function].get("Environment", {}).get("Variables", {})
    declared = template()["Globals"]["Function"]["Environment"]["Variables"] | own
    parameters = set(template()["Parameters"])
    of_resources = {
        name
        for name, value in declared.items()
        if not set(re.findall(r"\w+", json.dumps(value))) & parameters
    }
    given = _variables()
    assert of_resources <= set(given)
    assert given["AWS_ENDPOINT_URL"] == "https://host.docker.internal:4566"
    assert given["AWS_ACCESS_KEY_ID"] == KEY_ID


def test_every_variable_for_the_container_is_declared() -> None:
    """SAM sets none that the template does not declare, apart from credentials and region."""
    own = (properties["Environment"]["Variables"] for properties in FUNCTIONS.values())
    declared = set(template()["Globals"]["Function"]["Environment"]["Variables"]).union(*own)
    sams = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
    assert set(_variables()) - sams <= declared
