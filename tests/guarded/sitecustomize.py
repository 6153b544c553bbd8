"""Guards each Python process that a test starts.

Python imports the module `sitecustomize` at its start. Tests put this folder on PYTHONPATH.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location("tests.guard", Path(__file__).parents[1] / "guard.py")
assert _spec is not None
assert _spec.loader is not None
_guard = module_from_spec(_spec)
# A worker of pytest-xdist imports tests.guard, too. Both must have the same class `Refused`.
sys.modules[_spec.name] = _guard
_spec.loader.exec_module(_guard)
_guard.install()
