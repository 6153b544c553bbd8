"""Only this stack's own credentials can use the local AWS."""

import hashlib
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as Signer
from botocore.exceptions import ClientError

from local.stack import environment, ministack, processes
from local.stack.clients import Clients
from local.stack.environment import Credentials
from local.stack.stack import Stack
from local.stack.state import StateFolder


@pytest.fixture(scope="module")
def web(stack: Stack) -> Iterator[httpx.Client]:
    """Return an HTTP client without credentials for the local AWS."""
    context = ssl.create_default_context(cafile=stack.address.ca_bundle)
    with httpx.Client(
        base_url=stack.address.endpoint, verify=context, trust_env=False, timeout=30
    ) as client:
        yield client


def intruder(stack: Stack, access_key: str, secret_key: str) -> Clients:
    """Return clients with made-up credentials."""
    address = stack.address
    return Clients(address.endpoint, address.ca_bundle, Credentials(access_key, secret_key))


CALLS: dict[str, Callable[[Clients, Stack], Any]] = {
    "read the vendor's key": lambda clients, stack: clients.secrets.get_secret_value(
        SecretId=stack.output("VmakeApiKeySecretArn")
    ),
    "run code": lambda clients, stack: clients.functions.create_function(
        FunctionName="mine",
        Role="arn:aws:iam::000000000000:role/mine",
        Code={"ZipFile": b"PK\5\6" + bytes(18)},
    ),
    "read photos": lambda clients, stack: clients.s3.list_objects_v2(
        Bucket=stack.output("PhotosBucketName")
    ),
    "read records": lambda clients, stack: clients.dynamodb.scan(
        TableName=stack.output("JobsTableName")
    ),
    "look at the stack": lambda clients, stack: clients.cloudformation.describe_stacks(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("access_key", "secret_key"),
    [
        ("test", "test"),
        ("000000000000", "test"),
        ("AKIAIOSFODNN7EXAMPLE", "anything"),
        (None, "anything"),
    ],
    ids=["test", "account number", "unknown key", "right key, wrong secret"],
)
def test_made_up_credentials_open_nothing(
    stack: Stack, access_key: str | None, secret_key: str, call: Callable[[Clients, Stack], Any]
) -> None:
    """The gate refuses credentials that MiniStack accepts with any secret, and says what to do."""
    clients = intruder(stack, access_key or stack.address.access_key, secret_key)
    with pytest.raises(ClientError) as refused:
        call(clients, stack)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert "source .catwalk/env.sh" in refused.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/"),
        ("POST", "/_ministack/reset"),
        ("GET", "/_ministack/config"),
        ("GET", "/_ministack/health/"),
        ("GET", "//_ministack/health"),
        ("GET", "/_aws/sqs/messages"),
        ("GET", "/2015-03-31/functions/"),
        ("OPTIONS", "/"),
    ],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer test"},
        {"Authorization": "AWS test:dGVzdA=="},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
    ],
    ids=["none", "bearer", "version 2", "no signature", "websocket"],
)
def test_unsigned_requests_are_refused(
    web: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    """No path of MiniStack answers without a signature."""
    if "Upgrade" in headers:
        headers = headers | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert web.request(method, path, headers=headers).status_code in {400, 403}


def test_health_is_open_and_tells_nothing(web: httpx.Client) -> None:
    """The health address answers without credentials, and says only that the stack is up."""
    answer = web.get("/_ministack/health", headers={"Host": "x.execute-api.localhost"})
    assert (answer.status_code, answer.json()) == (200, {})


def signed(
    stack: Stack, method: str, path: str, body: bytes, headers: dict[str, str], service: str
) -> dict[str, str]:
    """Sign a request with the stack's credentials; return its headers."""
    credentials = stack.address.credentials
    request = AWSRequest(method, stack.address.endpoint + path, dict(headers), body)
    SigV4Auth(
        Signer(credentials.access_key, credentials.secret_key), service, environment.REGION
    ).add_auth(request)
    return dict(request.headers)


def test_a_role_has_no_hold_on_ministack_itself(stack: Stack, web: httpx.Client) -> None:
    """MiniStack's own paths have no policies, so only the stack's own credentials open them."""
    path = "/_ministack/ready"
    own = stack.address.credentials
    session = stack.clients.client("sts").get_session_token()["Credentials"]
    for signer, status in (
        (Signer(own.access_key, own.secret_key), 200),
        (
            Signer(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]),
            403,
        ),
    ):
        request = AWSRequest("GET", stack.address.endpoint + path, {}, b"")
        SigV4Auth(signer, "s3", environment.REGION).add_auth(request)
        assert web.get(path, headers=dict(request.headers)).status_code == status


def test_what_is_signed_cannot_be_changed(stack: Stack, web: httpx.Client) -> None:
    """A signature covers the method, path, headers and body of one request."""
    target = {
        "X-Amz-Target": "secretsmanager.ListSecrets",
        "Content-Type": "application/x-amz-json-1.1",
    }
    headers = signed(stack, "POST", "/", b"{}", target, "secretsmanager")
    assert web.post("/", content=b"{}", headers=headers).status_code == 200
    for body, more in (
        (b'{"MaxResults": 1}', {}),
        (b"{}", {"X-Amz-Target": "secretsmanager.GetSecretValue"}),
        (b"{}", {"X-Amz-Date": "20260101T000000Z"}),
        (b"{}", {"X-Amz-Security-Token": "more"}),
    ):
        assert web.post("/", content=body, headers=headers | more).status_code == 403
    assert web.put("/", content=b"{}", headers=headers).status_code == 403
    assert web.post("/?a", content=b"{}", headers=headers).status_code == 403
    # MiniStack uses the first credential of the header; its signature check uses the last one.
    double = headers["Authorization"].replace(
        "Credential=", "Credential=test/20260101/us-east-1/s3/aws4_request, Credential=", 1
    )
    twice = web.post("/", content=b"{}", headers=headers | {"Authorization": double})
    assert twice.status_code == 403


def test_a_header_that_is_not_signed_commands_nothing(stack: Stack, web: httpx.Client) -> None:
    """The signature must cover each header that MiniStack reads."""
    headers = signed(stack, "GET", "/", b"", {}, "s3")
    assert web.get("/", headers=headers).status_code == 200
    more = {"X-Amz-Target": "secretsmanager.ListSecrets"}
    assert web.get("/", headers=headers | more).status_code == 403


def test_presigned_urls_read_and_nothing_else(stack: Stack, web: httpx.Client) -> None:
    """A presigned URL reads its photo until it expires, and does nothing else."""
    bucket = stack.output("PhotosBucketName")
    credentials = stack.address.credentials
    s3 = boto3.Session(
        credentials.access_key, credentials.secret_key, region_name=environment.REGION
    ).client(
        "s3",
        endpoint_url=stack.address.endpoint,
        verify=stack.address.ca_bundle,
        # boto3's default for URLs is Signature Version 2.
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    s3.put_object(Bucket=bucket, Key=".gate", Body=b"the photo")
    where = {"Bucket": bucket, "Key": ".gate"}

    def path(method: str = "get_object", seconds: int = 60) -> str:
        url = urlsplit(s3.generate_presigned_url(method, Params=where, ExpiresIn=seconds))
        return f"{url.path}?{url.query}"

    assert web.get(path()).content == b"the photo"
    assert web.get(path().replace("/.gate?", "/other?")).status_code == 403
    assert web.get(path(), headers={"X-Amz-Target": "DynamoDB_20120810.Scan"}).status_code == 403
    assert web.get(path(), headers={"Authorization": "AWS test:dGVzdA=="}).status_code == 403
    assert web.request("GET", path(), content=b"Action=ListUsers").status_code == 403
    assert web.put(path("put_object"), content=b"another").status_code == 403
    assert web.get(path() + "&AWSAccessKeyId=test").status_code == 403
    ends = path(seconds=1)
    deadline = time.monotonic() + 30
    while (status := web.get(ends).status_code) == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status == 403
    assert s3.get_object(Bucket=bucket, Key=".gate")["Body"].read() == b"the photo"


def test_a_functions_credentials_cannot_be_guessed(stack: Stack) -> None:
    """A function's credentials depend on the stack's secret, not only on names."""
    resources = stack.clients.cloudformation.describe_stack_resources(StackName="catwalk")
    names = {
        each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
        for each in resources["StackResources"]
    }
    function = stack.clients.functions.get_function(FunctionName=names["SubmitFunction"])
    arn, role = function["Configuration"]["FunctionArn"], function["Configuration"]["Role"]
    digest = hashlib.sha256(f"{arn}:{role}".encode()).hexdigest()
    guessed = boto3.Session(
        f"ASIA{digest[:16].upper()}",
        hashlib.sha256(f"secret:{digest}".encode()).hexdigest(),
        hashlib.sha256(f"token:{digest}".encode()).hexdigest(),
        environment.REGION,
    )
    secrets = guessed.client(
        "secretsmanager", endpoint_url=stack.address.endpoint, verify=stack.address.ca_bundle
    )
    with pytest.raises(ClientError) as refused:
        secrets.get_secret_value(SecretId=stack.output("VmakeApiKeySecretArn"))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is loopback on Linux alone")
def test_listens_on_loopback_and_where_it_is_told(tmp_path: Path) -> None:
    """A stack for containers answers at both addresses, and nowhere without its credentials."""
    folder = StateFolder(tmp_path / "aws")
    folder.path.mkdir()
    process, endpoint, certificate = ministack.start(
        folder,
        host="127.0.0.2",
        port=0,
        wait_scale=1,
        credentials=environment.new_credentials(),
    )
    try:
        ministack.wait_until_ready(process, endpoint, certificate)
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        for at in (endpoint, endpoint.replace("127.0.0.1", "127.0.0.2")):
            with httpx.Client(base_url=at, verify=context, trust_env=False) as client:
                assert client.get("/_ministack/health").status_code == 200
                assert client.get("/").status_code == 403
    finally:
        processes.end(process)
