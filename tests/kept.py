"""moto's resources, made once and brought back for each test.

A call to moto takes milliseconds, and the stack takes thirteen. Its resources are pickled when they
have been made, and unpickled for the next test, which takes less than one call.
"""

import copyreg
import io
import pickle
import threading
from typing import Any, Final

from moto.backends import get_backend
from moto.core.base_backend import BackendDict

_SERVICES: Final[Any] = BackendDict
_HOW: Final[Any] = {
    **copyreg.dispatch_table,
    # A queue's lock, which is not held.
    threading.Condition: lambda _: (threading.Condition, ()),
}


def keep(*services: str) -> bytes:
    """Return a copy of what moto holds of these services, or of all."""
    held = {
        service.service_name: {
            account: dict(regions.items()) for account, regions in service.items()
        }
        for service in _SERVICES._instances
        if not services or service.service_name in services
    }
    copy = io.BytesIO()
    pickler = pickle.Pickler(copy, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _HOW
    pickler.dump(held)
    return copy.getvalue()


def bring_back(copy: bytes) -> None:
    """Have moto hold of these services what it held when the copy was made."""
    for name, accounts in pickle.loads(copy).items():  # noqa: S301  this process pickled it
        service: Any = get_backend(name)
        for account, regions in accounts.items():
            dict.update(service[account], regions)
