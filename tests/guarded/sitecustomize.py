"""Guards each Python process that a test starts.

Python imports a module of this name at its start. Tests put this folder on PYTHONPATH.
"""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location("_tests_guard", Path(__file__).parents[1] / "guard.py")
assert _spec is not None
assert _spec.loader is not None
_guard = module_from_spec(_spec)
_spec.loader.exec_module(_guard)
_guard.install()
