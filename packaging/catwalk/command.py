"""Runs the project's `cli` from where the sources are.

An installation is this package alone: names as common as `cli`, `local` and `shared` are no other
package's to take. In a wheel the project lies in `project/` beside this file; where a clone is
installed as editable, two folders up.
"""

import sys
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Run the command; see `cli.main.main`."""
    here = Path(__file__).resolve().parent
    project = here / "project"
    sys.path.insert(0, str(project if project.is_dir() else here.parent.parent))
    # They can be found from now on. Windows lacks modules that `cli` imports.
    if sys.platform == "win32":
        from local.machine import problem  # noqa: PLC0415  see above

        raise SystemExit("\n".join(problem()))
    from cli.main import main as run  # noqa: PLC0415  see above

    run()
