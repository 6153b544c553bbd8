"""Digests of the code that a stack was made from: the deployed code, and the servers' code.

`catwalk up` compares them with the present files. It deploys changed functions onto the running
stack. It does not restart the servers: MiniStack keeps buckets, tables and executions in memory,
and the simulated vendor keeps its tasks there, so a restart would lose the stack's jobs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from local.paths import ROOT

DEPLOYED: Final = (
    *("template.yaml", "statemachine", "functions", "shared", "requirements/functions.txt"),
    # It changes the built template and the deployed resources.
    "local/stack/differences.py",
)
SERVERS: Final = (
    *(
        "local/simulator",
        "local/stack/vendor.py",
        "local/stack/ministack.py",
        "local/stack/gate.py",
        "local/stack/put_events.py",
        "local/stack/unpacking.py",
    ),
    "local/stack/certificate.py",
    *("requirements/ministack.txt", "requirements/laptop.txt"),
)
_NO_CODE: Final = ("__pycache__", ".md")


@dataclass(frozen=True)
class Code:
    """Digests of files."""

    deployed: str
    """Of the files that `sam build` and `sam deploy` use, and of the parameters."""
    servers: str
    """Of the files that the local AWS and the simulated vendor are started from."""

    @classmethod
    def present(cls, parameters: Mapping[str, str], root: Path = ROOT) -> Self:
        """Return the digests of the present files and of the parameters of a deployment."""
        given = json.dumps(dict(parameters), sort_keys=True)
        return cls(_digest(root, DEPLOYED, given), _digest(root, SERVERS))


def _digest(root: Path, names: Sequence[str], more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for name in names:
        place = root / name
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in files:
            relative = str(file.relative_to(root))
            if file.is_file() and not any(part in relative for part in _NO_CODE):
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{relative} {content}\n".encode())
    return digest.hexdigest()
