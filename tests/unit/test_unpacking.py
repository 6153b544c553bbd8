"""The workers of a function share the files of its package."""

import shutil
import zipfile
from pathlib import Path

import pytest

from local.stack.unpacking import SharedZip


def unpack(worker: Path, files: dict[str, str]) -> Path:
    """Unpack a package as MiniStack does for a new worker; return the worker's code."""
    code = worker / "code"
    code.mkdir(parents=True)
    with zipfile.ZipFile(worker / "code.zip", "w") as package:
        for name, text in files.items():
            package.writestr(zipfile.ZipInfo(name), text)
    with SharedZip(worker / "code.zip") as package:
        package.extractall(code)
    return code


def test_a_package_is_unpacked_once(tmp_path: Path) -> None:
    """A second worker with the same package reads the files of the first."""
    files = {"handler.py": "x = 1", "shared/models.py": "y = 2"}
    first, second = (unpack(tmp_path / name, files) for name in ("first", "second"))
    for name, text in files.items():
        assert (second / name).read_text() == text
        assert (second / name).samefile(first / name)


def test_new_code_is_unpacked(tmp_path: Path) -> None:
    """A worker with another package has its own files."""
    unpack(tmp_path / "first", {"handler.py": "x = 1"})
    second = unpack(tmp_path / "second", {"handler.py": "x = 2"})
    assert (second / "handler.py").read_text() == "x = 2"


def test_the_end_of_a_worker_leaves_the_code(tmp_path: Path) -> None:
    """The folder of a worker that has ended can be removed while others use the code."""
    files = {"handler.py": "x = 1", "shared/models.py": "y = 2"}
    first, second = (unpack(tmp_path / name, files) for name in ("first", "second"))
    shutil.rmtree(first.parent)
    assert (second / "shared" / "models.py").read_text() == "y = 2"


def test_a_broken_package_is_not_kept(tmp_path: Path) -> None:
    """A package that could not be unpacked whole is not given to the next worker."""
    unpack(tmp_path / "first", {"handler.py": "x = 1"})
    broken = (tmp_path / "first" / "code.zip").read_bytes().replace(b"x = 1", b"x = 2")
    for name in ("second", "third"):
        worker = tmp_path / name
        (worker / "code").mkdir(parents=True)
        (worker / "code.zip").write_bytes(broken)
        with SharedZip(worker / "code.zip") as package, pytest.raises(zipfile.BadZipFile):
            package.extractall(worker / "code")
