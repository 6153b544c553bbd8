"""AWS clients: made when something is first asked of them, each once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.session import Session

from shared import clients

MADE_BY = {
    "s3": clients.s3,
    "dynamodb": clients.dynamodb,
    "events": clients.events,
    "secretsmanager": clients.secrets,
    "sqs": clients.sqs,
    "stepfunctions": clients.executions,
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the names of the services that a client was made for, from now on."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    names: list[str] = []
    create = Session.create_client

    def watched(self: Session, service: str, **options: object) -> object:
        names.append(service)
        return create(self, service, **options)  # type: ignore[call-overload]  # as given

    monkeypatch.setattr(Session, "create_client", watched)
    clients._session.cache_clear()
    yield names
    clients._session.cache_clear()


@pytest.mark.parametrize("service", MADE_BY)
def test_each_client_is_of_its_service(service: str, made: list[str]) -> None:
    """Every service that a function asks for is found among botocore's data files."""
    client = MADE_BY[service].__wrapped__()  # type: ignore[attr-defined]  # of functools.cache
    assert made == []
    assert client.meta.service_model.service_name == service
    assert client.meta.region_name == "eu-central-1"
    assert made == [service]


@pytest.mark.parametrize("service", ["signin", "sso", "sso-oidc", "sts"])
def test_profiles_with_roles_or_single_sign_on(service: str, made: list[str]) -> None:
    """The command works with whatever credentials the AWS CLI works with."""
    assert clients._session().create_client(service).meta.service_model.service_name == service
    assert made == [service]


def test_threads_make_one_client(made: list[str]) -> None:
    """Results are copied side by side with the same client."""
    client = clients.s3.__wrapped__()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.meta, range(8)))
    assert made == ["s3"]


def test_the_local_aws_is_found(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """`AWS_ENDPOINT_URL` leads to the laptop's AWS; signatures are the current ones."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    client = clients.s3.__wrapped__()
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.config.signature_version == "s3v4"
    assert made == ["s3"]
