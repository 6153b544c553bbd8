"""Clients of the AWS services that the command uses and the functions do not.

They are made with botocore, as those of `shared.clients` are. boto3 would give the command nothing
more, and importing it takes a tenth of a second.
"""

from functools import cache
from typing import Any

from botocore.config import Config
from botocore.session import Session


def client(service: str, config: Config | None = None) -> Any:  # noqa: ANN401  botocore makes the client's class
    """Return a client of a service."""
    return _session().create_client(service, config=config)


@cache
def _session() -> Session:
    return Session()
