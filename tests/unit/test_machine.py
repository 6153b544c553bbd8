"""The platforms that functions are built for, and errors on machines without support."""

import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.stacks import project
from functions import package
from local import machine
from local.paths import ROOT
from local.stack import environment, processes, sam
from local.stack.state import StateFolder

MAC_UV = "/opt/homebrew/bin/uv"


def command(uv: str | None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command that installs the functions' packages, on a machine that has pip."""
    done = subprocess.CompletedProcess[str]([], 0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    return package._install_command("python3.12", "arm64", Path("made"), uv)


@pytest.mark.parametrize("uv", [MAC_UV, None])
def test_packages_of_the_laptop_are_its_own(
    uv: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop's build uses the interpreter's own wheels: on a Mac, macOS's."""
    monkeypatch.setenv(package.BUILD_FOR, package.THIS_MACHINE)
    made = command(uv, monkeypatch)
    assert not [part for part in made if "platform" in part or "linux" in part]
    assert made[made.index("--python-version") + 1] == "3.12"


@pytest.mark.parametrize("uv", [MAC_UV, None])
def test_packages_for_aws_are_linuxs(uv: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for AWS has packages for Linux and the function's processor, on any machine."""
    monkeypatch.delenv(package.BUILD_FOR, raising=False)
    assert [
        part for part in command(uv, monkeypatch) if "manylinux_2_28" in part and "aarch64" in part
    ]


def test_the_stack_says_for_what_it_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop's build is for this machine, that of `sam local invoke` for a Linux container."""
    monkeypatch.setenv(package.BUILD_FOR, "something else")
    seen: list[str | None] = []
    start = processes.start

    def watched(*_: object, **options: object) -> object:
        seen.append(options["environment"].get(package.BUILD_FOR))  # type: ignore[attr-defined]  # a mapping
        return start(["true"], environment={}, log=tmp_path / "log")

    monkeypatch.setattr(processes, "start", watched)
    monkeypatch.setattr(sam, "_SAM", tmp_path)
    folder = StateFolder(tmp_path)
    sam.start_build(folder, {}).wait()
    sam.build_for_container(folder, tmp_path, "arm64", tmp_path / "log")
    assert seen == [package.THIS_MACHINE, None]


def test_packages_of_two_systems_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache for Lambda's packages is not used for a Mac's."""
    monkeypatch.setattr(package, "ROOT", tmp_path)
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        if "--target" in command:
            Path(command[command.index("--target") + 1]).mkdir()
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    folders = set()
    for target in ("", package.THIS_MACHINE):
        monkeypatch.setenv(package.BUILD_FOR, target)
        folders.add(package.dependencies("python3.12", "arm64"))
    assert len(folders) == 2


# --- where it cannot run -------------------------------------------------------------------------

PLACES: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "Windows": ({"platform": "win32"}, {}, "Catwalk runs on Linux and macOS; this is Windows."),
    "too old": ({"version_info": (3, 10, 1)}, {}, f"{sys.executable} is CPython 3.10."),
    "too new": ({"version_info": (3, 15, 0)}, {}, "Catwalk needs python3 3.11 to 3.14;"),
    "32 bits": ({"maxsize": 2**31 - 1}, {}, "a 64-bit python3"),
    "another processor": ({}, {"machine": "riscv64"}, "this one is for riscv64"),
    "Intel Mac": ({"platform": "darwin"}, {"machine": "x86_64"}, "not built for Intel Macs"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_machine_that_cannot_run_it(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an unsupported machine there are two sentences, and nothing is installed."""
    of_sys, of_platform, said = PLACES[place]
    for name, value in of_sys.items():
        monkeypatch.setattr(sys, name, value)
    for name, text in {"system": "Windows", **of_platform}.items():
        monkeypatch.setattr(platform, name, lambda text=text: text)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    what, next_step = machine.problem()
    assert said in what
    assert next_step
    with pytest.raises(CommandError) as raised:
        project.make_tools(project.Project(Path("/nonexistent")))
    assert str(raised.value) == what


def test_this_machine_can_run_it() -> None:
    """A supported machine has no message."""
    assert machine.problem() == ()


def test_the_first_line_of_make(tmp_path: Path) -> None:
    """`make demo` says first that the Python is too old, before anything is installed."""
    old = tmp_path / "python3"
    script = (
        "import runpy, sys; sys.version_info = (3, 9, 6, 'final', 0);"
        " runpy.run_path('local/machine.py', run_name='__main__')"
    )
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}"\n')
    old.chmod(0o755)
    for python, said in {
        str(old): "Catwalk needs python3 3.11 to 3.14; ",
        "/nowhere/python3": "Catwalk needs python3; /nowhere/python3 was not found.",
    }.items():
        done = subprocess.run(
            ["make", "demo", f"PYTHON={python}", f"TOOLS={tmp_path / 'tools'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert (done.stdout + done.stderr).startswith(said)


def test_a_child_that_has_ended_is_not_running_for_ps() -> None:
    """On macOS, an ended child that was not waited for counts as ended."""
    child = subprocess.Popen(["sleep", "600"])
    assert processes._started_by_ps(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes._started_by_ps(child.pid) is None
    child.wait()
    assert processes._started_by_ps(child.pid) is None


# --- certificates --------------------------------------------------------------------------------


@pytest.fixture
def uv(tmp_path: Path) -> str:
    """Return a uv that finds the system's certificates only if their file exists."""
    script = tmp_path / "uv"
    script.write_text(
        f'#!/bin/sh\n[ "$UV_SYSTEM_CERTS" != 1 ] || [ -e "{tmp_path}/authorities" ]\n'
    )
    script.chmod(0o755)
    return str(script)


def test_uv_trusts_whom_the_system_trusts(
    uv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installer trusts the system's certificate authorities if there are any."""
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    assert package._with_system_certificates(uv) is None, "a system without any, as some images"
    (tmp_path / "authorities").touch()
    told = package._with_system_certificates(uv)
    assert told is not None
    assert told["UV_SYSTEM_CERTS"] == "1"
    assert package._with_system_certificates(None) is None
    monkeypatch.setenv("UV_SYSTEM_CERTS", "0")
    assert package._with_system_certificates(uv) is None, "what the user says counts"


def test_make_has_uv_trust_whom_the_system_trusts(
    uv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make` installs its tools in the same way."""
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)

    def told(*given: str) -> str:
        (tmp_path / "Makefile").write_text(
            f"include {ROOT / 'Makefile'}\nshow:\n\t@echo '$(INSTALL)'\n"
        )
        command = ["make", "-s", "-f", str(tmp_path / "Makefile"), "show", f"UV={uv}", *given]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert told().startswith(f"{uv} pip install")
    (tmp_path / "authorities").touch()
    assert told().startswith(f"UV_SYSTEM_CERTS=1 {uv} pip install")
    assert told("UV_SYSTEM_CERTS=0").startswith(f"{uv} pip install")


def test_the_build_is_given_what_the_user_says_of_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sam build` fetches packages with the user's own settings of uv."""
    monkeypatch.setenv("UV_SYSTEM_CERTS", "1")
    monkeypatch.setenv("SSL_CERT_FILE", "/company.pem")
    built = environment.sam_build(tmp_path)
    assert (built["UV_SYSTEM_CERTS"], built["SSL_CERT_FILE"]) == ("1", "/company.pem")


def test_the_sam_cli_does_not_ask_for_its_newest_version(tmp_path: Path) -> None:
    """SAM neither sends telemetry nor looks for updates on the laptop."""
    given = (
        environment.sam_build(tmp_path / "build"),
        environment.sam_deploy(
            tmp_path / "deploy",
            endpoint="https://here",
            ca_bundle=tmp_path,
            credentials=environment.new_credentials(),
        ),
    )
    for variables in given:
        settings = json.loads((Path(variables["__SAM_CLI_APP_DIR"]) / "metadata.json").read_text())
        # Of another type SAM takes it for missing.
        assert isinstance(settings["lastVersionCheck"], float)
        last = datetime.fromtimestamp(settings["lastVersionCheck"], UTC)
        assert last.year >= 2999  # the check is due once a week
