"""Checks whether the laptop stack can run on this machine.

`make` runs this file with any python3 before it installs anything. `catwalk` runs it before it
imports modules that Windows does not have. So it uses only the standard library, and runs on
Python 3.6.
"""

import platform
import shutil
import sys
from typing import Tuple  # noqa: UP035  Python 3.6

OLDEST = (3, 11)
NEWEST = (3, 14)
_PROCESSORS = ("x86_64", "amd64", "arm64", "aarch64")
_SYSTEMS = ("linux", "darwin")


def problem() -> Tuple[str, ...]:  # noqa: UP006  Python 3.6
    """Return why the laptop stack cannot run here, and what to do; empty if it can run."""
    version = sys.version_info[:2]
    if not sys.platform.startswith(_SYSTEMS):
        return (
            f"Catwalk runs on Linux and macOS; this is {platform.system() or sys.platform}.",
            "On Windows, run it in WSL: `wsl --install`.",
        )
    if sys.implementation.name != "cpython" or not OLDEST <= version <= NEWEST:
        kind = platform.python_implementation()
        return (
            (
                f"Catwalk needs python3 {_dotted(OLDEST)} to {_dotted(NEWEST)}; {sys.executable}"
                f" is {kind} {_dotted(version)}."
            ),
            "Set PYTHON=/path/to/another.",
        )
    if platform.machine().lower() not in _PROCESSORS or sys.maxsize < 2**32:
        return (
            (
                "Catwalk needs a 64-bit x86 or ARM processor and a 64-bit python3; this one is for"
                f" {platform.machine()}, {platform.architecture()[0]}."
            ),
            "Use another machine.",
        )
    if sys.platform == "darwin" and platform.machine() == "x86_64" and not shutil.which("cargo"):
        return (
            "The local AWS needs the package `cryptography`, which is not built for Intel Macs.",
            "Install what builds it (`brew install rust openssl@3`), or use another machine.",
        )
    return ()


def _dotted(version: Tuple[int, ...]) -> str:  # noqa: UP006  Python 3.6
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(" ".join(problem()) or 0)
