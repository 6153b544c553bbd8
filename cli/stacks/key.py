"""The vendor's API key: what one looks like, and how it gets into the stack's secret."""

from typing import TYPE_CHECKING, Final

from cli.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

MOST: Final = 4096
"""Characters; no API key is longer, but a file that was piped in by mistake is."""
_AGAIN: Final = "Give the key as the vendor shows it, and nothing else."


def cleaned(text: str) -> str:
    """Return a key without the space around it.

    Raises:
        CommandError: it is no key; the message does not repeat it.

    """
    key = text.strip().removeprefix("\ufeff").strip()
    if not key:
        raise CommandError("There is no key: what was given is empty.", _AGAIN)
    if len(key) > MOST:
        raise CommandError(f"That is no key: it has {len(key)} characters.", _AGAIN)
    if key[0] in "{[":
        raise CommandError("That looks like JSON; the secret is the key itself.", _AGAIN)
    if any(mark in key for mark in "\"'`"):
        raise CommandError("There are quotes in it; the secret is the key itself.", _AGAIN)
    if key[0] == "<" or key[-1] == ">":
        raise CommandError("That is a placeholder, <…>, and no key.", _AGAIN)
    if any(letter.isspace() for letter in key):
        raise CommandError("There is a space or a line break in it.", _AGAIN)
    if not (key.isascii() and key.isprintable()):
        raise CommandError("There is a character in it that no header can hold.", _AGAIN)
    return key


def put(secrets: "SecretsManagerClient", secret: str, key: str) -> None:
    """Put a key into a secret; functions that know the earlier one use it within minutes."""
    secrets.put_secret_value(SecretId=secret, SecretString=key)
