"""Creates moto's resources once and restores them for each test.

Creating the stack's resources takes thirteen calls of some milliseconds each. So the resources are
pickled once they exist, and unpickled for each further test, which takes less than one call.
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
    # A queue's lock. It is not held, so a new one replaces it.
    threading.Condition: lambda _: (threading.Condition, ()),
}


def keep(*services: str) -> bytes:
    """Return a pickle of moto's state of these services, or of all."""
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
    """Restore moto's state from a pickle of `keep`."""
    for name, accounts in pickle.loads(copy).items():  # noqa: S301  this process pickled it
        service: Any = get_backend(name)
        for account, regions in accounts.items():
            dict.update(service[account], regions)
