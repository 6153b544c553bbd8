"""AWS clients are made once, at their first use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

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
    """Return a list that gets the service name of each client that is made."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    names: list[str] = []
    create = Session.create_client

    def watched(self: Session, service: str, **options: Any) -> object:
        names.append(service)
        return create(self, service, **options)

    monkeypatch.setattr(Session, "create_client", watched)
    clients._session.cache_clear()
    yield names
    clients._session.cache_clear()


@pytest.mark.parametrize("service", MADE_BY)
def test_each_client_is_of_its_service(service: str, made: list[str]) -> None:
    """The data files of botocore have every service of the functions; clients are made late."""
    client = MADE_BY[service].__wrapped__()
    assert made == []
    assert client.meta.service_model.service_name == service
    assert client.meta.region_name == "eu-central-1"
    assert made == [service]


@pytest.mark.parametrize("service", ["cloudformation", "lambda", "sts"])
def test_services_of_the_command(service: str, made: list[str]) -> None:
    """The `catwalk` command makes clients that the functions do not need."""
    assert clients.client(service).meta.service_model.service_name == service
    assert made == [service]


@pytest.mark.parametrize("service", ["signin", "sso", "sso-oidc", "sts"])
def test_profiles_with_roles_or_single_sign_on(service: str, made: list[str]) -> None:
    """Clients for roles and single sign-on can be made, so profiles work as with the AWS CLI."""
    assert clients._session().create_client(service).meta.service_model.service_name == service
    assert made == [service]


def test_threads_make_one_client(made: list[str]) -> None:
    """Threads share the same client."""
    client = clients.s3.__wrapped__()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.meta, range(8)))
    assert made == ["s3"]


def presigned(bucket: str = "photos") -> SplitResult:
    """Return the host of a presigned URL of a new S3 client."""
    params = {"Bucket": bucket, "Key": "a/dress.jpg", "VersionId": "v1"}
    client = clients.s3.__wrapped__()
    return urlsplit(client.generate_presigned_url("get_object", Params=params))


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "photos.s3.us-east-1.amazonaws.com"),
        ("eu-central-1", "photos.s3.eu-central-1.amazonaws.com"),
        ("eu-south-1", "photos.s3.eu-south-1.amazonaws.com"),  # launched after March 2019
        ("cn-north-1", "photos.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_a_presigned_url_names_the_buckets_region(
    monkeypatch: pytest.MonkeyPatch, made: list[str], region: str, host: str
) -> None:
    """Presigned URLs name the bucket's region, since the global name answers 307 or 400."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    url = presigned()
    assert (url.scheme, url.netloc, url.path) == ("https", host, "/a/dress.jpg")
    query = parse_qs(url.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Credential"][0].split("/")[2:4] == [region, "s3"]
    assert query["versionId"] == ["v1"]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "profile", "services"])
def test_elsewhere_the_bucket_stands_in_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: list[str], name: str
) -> None:
    """With another endpoint, a URL has the bucket in its path, since its host may not resolve."""
    endpoint = "https://local.test:4566"
    if name.startswith("AWS_"):
        monkeypatch.setenv(name, endpoint)
    else:
        own = f"endpoint_url = {endpoint}" if name == "profile" else "services = here"
        config = tmp_path / "config"
        config.write_text(f"[default]\n{own}\n[services here]\ns3 =\n  endpoint_url = {endpoint}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    url = presigned()
    assert (url.netloc, url.path) == ("local.test:4566", "/photos/a/dress.jpg")


def test_the_local_aws_is_found(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """With `AWS_ENDPOINT_URL`, the client uses that endpoint, with Signature Version 4."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    client: Any = clients.s3.__wrapped__()
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.config.signature_version == "s3v4"
    assert made == ["s3"]
