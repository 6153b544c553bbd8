"""The API key is read at run time, cached for a while, and never shown."""

from typing import Any

import pytest

from shared.vmake.secret import KEPT_SECONDS, ApiKey, ApiKeyMissing
from tests.factories import KEY, Aws


class Counting:
    """A Secrets Manager client that counts its reads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reads = 0

    def get_secret_value(self, **arguments: Any) -> Any:
        self.reads += 1
        return self._client.get_secret_value(**arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class Time:
    """Seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def secrets(aws: Aws) -> Counting:
    """Count the reads of the stack's secret."""
    return Counting(aws.secrets)


@pytest.fixture
def time() -> Time:
    """Return a clock that stands still."""
    return Time()


@pytest.fixture
def api_key(aws: Aws, secrets: Counting, time: Time) -> ApiKey:
    """Return the stack's ApiKey."""
    return ApiKey(secrets, aws.secret_arn, monotonic=time)  # type: ignore[arg-type]  # a double


def test_nothing_is_read_before_the_first_use(api_key: ApiKey, secrets: Counting) -> None:
    """Making an ApiKey reads nothing; the first call does."""
    assert secrets.reads == 0
    assert api_key() == KEY
    assert secrets.reads == 1


def test_key_is_kept_a_while(api_key: ApiKey, secrets: Counting, time: Time) -> None:
    """The key is cached for its lifetime, and then read again."""
    api_key()
    time.now = KEPT_SECONDS - 1
    api_key()
    assert secrets.reads == 1
    time.now = KEPT_SECONDS
    api_key()
    assert secrets.reads == 2


def test_forgotten_key_is_read_anew(api_key: ApiKey, aws: Aws) -> None:
    """After a refusal the key is read again at once."""
    api_key()
    aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString="  new-key\n")
    assert api_key() == KEY
    api_key.forget()
    assert api_key() == "new-key"


@pytest.mark.parametrize("text", [" ", "\n", "k\u00e9y", "two\nlines", "tab\tkey", "nul\0"])
def test_unusable_key_is_missing(api_key: ApiKey, aws: Aws, text: str) -> None:
    """A secret that cannot be sent as a header is missing, and its text is not repeated."""
    aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString=text)
    with pytest.raises(ApiKeyMissing) as caught:
        api_key()
    assert text.strip() == "" or text not in str(caught.value)


def test_binary_secret_is_missing(api_key: ApiKey, aws: Aws) -> None:
    """A binary secret is no key."""
    aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretBinary=b"key")
    with pytest.raises(ApiKeyMissing):
        api_key()


def test_secret_without_a_value_is_missing(aws: Aws) -> None:
    """An empty secret, as the stack creates it, is ApiKeyMissing."""
    arn = aws.secrets.create_secret(Name="empty")["ARN"]
    with pytest.raises(ApiKeyMissing, match="put the API key into it"):
        ApiKey(aws.secrets, arn)()


def test_missing_key_is_looked_for_again(api_key: ApiKey, aws: Aws) -> None:
    """A missing key is not cached."""
    aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString=" ")
    with pytest.raises(ApiKeyMissing):
        api_key()
    aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString=KEY)
    assert api_key() == KEY


def test_key_is_not_in_its_representation(api_key: ApiKey) -> None:
    """Printing the object does not show the key."""
    api_key()
    assert KEY not in f"{api_key!r} {api_key}"
