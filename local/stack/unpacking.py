"""Unpacks a function's package once, for all of its workers.

MiniStack unpacks it for each worker, and replaces a worker whenever its function fails or is
configured. The packages have hundreds of files. As on AWS, the functions only read their code.
Written for MiniStack 1.5.33; once it unpacks a package once, this module can be removed.

This module runs in MiniStack's process, on its interpreter: see `local.stack.gate`.
"""

import hashlib
import zipfile
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from types import ModuleType
from typing import Any, Final

_UNPACKING: Final = Lock()


def install() -> None:
    """Make MiniStack's workers share their code."""
    # MiniStack's interpreter alone has it.
    from ministack.core import lambda_runtime  # noqa: PLC0415

    module: Any = ModuleType("zipfile")
    vars(module).update(vars(zipfile), ZipFile=SharedZip)
    lambda_runtime.zipfile = module


class SharedZip(zipfile.ZipFile):
    """A package in a worker's folder. Folders beside that one hold what is unpacked."""

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:  # noqa: ANN401  as zipfile declares it
        """Link `path` to the unpacked package; the first call for a package unpacks it."""
        package = Path(str(self.filename))
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        unpacked = package.parent.parent / f"package-{digest}"
        with _UNPACKING:
            if not unpacked.exists():
                new = mkdtemp(dir=unpacked.parent)
                super().extractall(new, members, pwd)
                Path(new).rename(unpacked)
        for entry in unpacked.iterdir():
            Path(path, entry.name).symlink_to(entry)
