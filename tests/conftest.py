"""Fixtures of all tests. No test reaches AWS, the vendor or another machine."""

import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from moto import mock_aws

from cli.stacks.project import NEEDED
from tests import guard
from tests.factories import REGION, Aws, Clock
from tests.quick import quicken
from tests.thorough import THOROUGH

guard.install()

settings.register_profile(
    "catwalk",
    # A slow machine must not fail a test, and each run must try the same examples.
    deadline=None,
    derandomize=True,
    max_examples=150 if THOROUGH else 30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("catwalk")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are marked `thorough`, except in `make thorough`."""
    left_out = [] if THOROUGH else [item for item in items if item.get_closest_marker("thorough")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def no_laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the stack that the developer's shell names or that runs in this clone."""
    folder = tmp_path_factory.mktemp("project")
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CATWALK_STACK", raising=False)
        patch.setenv("CATWALK_HOME", str(folder))
        yield


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide which stack the developer or an earlier test used last."""
    folder = tmp_path_factory.getbasetemp() / "settings"
    shutil.rmtree(folder, ignore_errors=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[None]:
    """Point every client at a made-up account, whatever AWS settings the machine has."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_REGION", REGION)
        yield


@pytest.fixture(scope="session")
def aws_clients(aws_environment: None) -> Iterator[Aws]:
    """Make the clients once, since that takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        with mock_aws():
            made = Aws.connect()
        yield made


@pytest.fixture
def aws(aws_clients: Aws) -> Iterator[Aws]:
    """Build the stack's resources in moto, empty for each test."""
    with mock_aws():
        yield aws_clients.build()


@pytest.fixture
def table(aws_clients: Aws) -> Iterator[Aws]:
    """Build only JobsTable, empty for each test; this is quicker than the whole stack."""
    with mock_aws():
        aws_clients.build_table()
        yield aws_clients


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()
