"""The stored state of a local stack."""

import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from local.paths import write_private
from local.stack.environment import Credentials, new_credentials
from local.stack.state import Address, State, StateFolder


def test_credentials_are_kept_for_this_user_alone(tmp_path: Path) -> None:
    """Only the user can read the file with the credentials of the local AWS."""
    folder = StateFolder(tmp_path)
    made = new_credentials()
    address = Address("https://here", "ca.pem", "", {}, "docker", made.access_key, made.secret_key)
    folder.write(State((), address))
    assert folder.read().address == address
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert made.secret_key not in repr(address) + repr(made)


def test_a_stack_of_an_earlier_version_is_found(tmp_path: Path) -> None:
    """It has no credentials of its own; `catwalk down` must find its processes."""
    address = asdict(Address("https://here", "ca.pem", "", {}))
    for name in ("access_key", "secret_key"):
        del address[name]
    document = {"processes": [], "address": address}
    (tmp_path / "state.json").write_text(json.dumps(document))
    found = StateFolder(tmp_path).read().address
    assert found is not None
    assert found.credentials == Credentials("test", "test")


def test_credentials_are_new_each_time() -> None:
    """A key id looks like AWS's, and neither part is ever the same."""
    one, other = new_credentials(), new_credentials()
    assert one.access_key != other.access_key
    assert one.secret_key != other.secret_key
    assert len(one.access_key) == 20
    assert one.access_key.startswith("AKIA")


@pytest.mark.parametrize("left", [False, True])
def test_a_private_file_is_private_from_the_start(tmp_path: Path, left: bool) -> None:
    """A private file is private also if another file was there before."""
    file = tmp_path / "env.sh"
    file.write_text("old")
    file.chmod(0o644)
    if left:
        (tmp_path / "env.sh.new").write_text("half")
    write_private(file, "new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
