"""The API key: read from Secrets Manager at run time, kept for a few minutes, never logged."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from shared.errors import CatwalkError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

KEPT_SECONDS: Final = 300.0
"""Warm functions use a new key after this time at the latest."""


class ApiKeyMissing(CatwalkError):
    """The secret holds no usable key yet."""


class ApiKey:
    """The key behind a secret's ARN; calling it returns the key."""

    def __init__(
        self,
        secrets: "SecretsManagerClient",
        secret_id: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read this secret at the first call."""
        self._secrets = secrets
        self._secret_id = secret_id
        self._monotonic = monotonic
        self._key = ""
        self._read_at = float("-inf")

    def __call__(self) -> str:
        """Return the key.

        Raises:
            ApiKeyMissing: the secret has no value, or its value cannot be sent as a header.

        """
        if self._monotonic() - self._read_at >= KEPT_SECONDS:
            self._key = self._read()
            self._read_at = self._monotonic()
        return self._key

    def forget(self) -> None:
        """Read the secret again at the next call; used after the key was refused."""
        self._read_at = float("-inf")

    def _read(self) -> str:
        try:
            answer = self._secrets.get_secret_value(SecretId=self._secret_id)
        except self._secrets.exceptions.ResourceNotFoundException:
            raise ApiKeyMissing(
                "The secret VmakeApiKeySecretArn has no value; put the API key into it."
            ) from None
        key = answer.get("SecretString", "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ApiKeyMissing(
                "The secret VmakeApiKeySecretArn holds no usable API key; put the key itself there."
            )
        return key
