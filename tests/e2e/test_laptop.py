"""The local stack takes nothing from the user's environment, and leaves nothing behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.errors import PortInUseError, SamError
from local.paths import ROOT
from local.stack import environment, ministack, processes, sam
from local.stack.processes import ProcessId
from local.stack.stack import Plan, Quiet, Stack, running, stop
from local.stack.state import State, StateFolder
from tests.e2e.driver import wait_for

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="only Linux shows what runs, and listens, where"
)

SLEEP = "import time; time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"


def started(folder: Path, script: str) -> subprocess.Popen[bytes]:
    """Start a Python script in the way in which the stack starts its servers."""
    return processes.start(
        [sys.executable, "-c", script],
        environment=environment.bare(folder),
        log=folder / "script.log",
    )


def members(session: int) -> list[int]:
    """Return the processes of a session that are still running."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The fields after the name, which may contain anything: state, parent, group, session.
            state, _, _, leader = entry.read_text().rpartition(")")[2].split()[:4]
            if int(leader) == session and state not in "ZX":
                found.append(int(entry.parent.name))
    return found


def test_a_process_is_ended_with_its_children(tmp_path: Path) -> None:
    """Ending MiniStack also ends its workers, which are its grandchildren."""
    process = started(tmp_path, PARENT)
    wait_for(lambda: len(members(process.pid)) == 2, "the child's child")
    processes.end(process)
    wait_for(lambda: members(process.pid) == [], "both to end")


def test_what_a_crash_left_behind_is_ended(tmp_path: Path) -> None:
    """A later command finds the processes by the stored state."""
    folder = StateFolder(tmp_path / "stack")
    process = started(tmp_path, PARENT)
    with folder.locked():
        folder.add(process.pid)
    assert stop(folder)
    assert members(process.pid) == []
    assert not stop(folder)


def test_a_number_that_was_given_again_is_left_alone(tmp_path: Path) -> None:
    """A foreign process that has got the id of one of ours is not ended."""
    folder = StateFolder(tmp_path / "stack")
    process = started(tmp_path, SLEEP)
    with folder.locked():
        folder.write(State((ProcessId(process.pid, "another time"),)))
    assert not stop(folder)
    assert process.poll() is None
    processes.end(process)


def test_two_commands_at_once(tmp_path: Path) -> None:
    """A second `up` in the same folder says that a stack is running, and changes nothing."""
    folder = StateFolder(tmp_path / "stack")
    with folder.locked():
        code = f"""
from pathlib import Path
from local.errors import StackBusyError
from local.stack.state import StateFolder
try:
    with StateFolder(Path({str(folder.path)!r})).locked():
        print("got it")
except StackBusyError as problem:
    print(problem)
"""
        said = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    assert "Another command is using the local stack" in said
    with folder.locked():
        pass


def test_a_port_in_use(tmp_path: Path) -> None:
    """If a given port is in use, there is a clear error, and nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PortInUseError, match=f"Port {port} .* is in use"),
            running(StateFolder(tmp_path / "stack"), Plan(port=port), Quiet()),
        ):
            pass


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `sam build` fails, the servers are ended."""
    broken = tmp_path / "sam"
    broken.write_text("#!/bin/sh\nsleep 1\necho 'Error: the template is broken'\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sam, "_SAM", broken)
    seen: list[int] = []
    add = StateFolder.add

    def remember(self: StateFolder, pid: int) -> None:
        seen.append(pid)
        add(self, pid)

    monkeypatch.setattr(StateFolder, "add", remember)
    with (
        pytest.raises(SamError, match=r"the template is broken\nThe log is .*build\.log"),
        running(StateFolder(tmp_path / "stack"), Plan(), Quiet()),
    ):
        pass
    assert len(seen) == 3
    assert [pid for pid in seen if members(pid)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or closing the terminal, ends everything that was started."""
    folder = StateFolder(tmp_path / "stack")
    code = f"""
import signal
from pathlib import Path
from local.stack.stack import Plan, Quiet, running
from local.stack.state import StateFolder
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is to ignore it
with running(StateFolder(Path({str(folder.path)!r})), Plan(), Quiet()):
    pass
"""
    command = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    servers = wait_for(
        lambda: found if len(found := folder.read().processes) == 3 else None, "three processes"
    )
    command.send_signal(number)
    assert command.wait(30) != 0
    assert [server for server in servers if members(server.pid)] == []
    assert not (folder.path / "state.json").exists()


def test_the_stack_listens_on_loopback_only(stack: Stack) -> None:
    """All servers of the stack listen on loopback only."""
    addresses = set()
    for server in stack.folder.read().processes:
        for pid in members(server.pid):
            addresses |= listening(pid)
    ports = {
        int(url.rpartition(":")[2]) for url in (stack.address.endpoint, stack.address.vendor_url)
    }
    assert addresses == {("0100007F", port) for port in ports}


def listening(pid: int) -> set[tuple[str, int]]:
    """Return the addresses that a process listens on, in the hexadecimal of /proc/net/tcp."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(entry.readlink()).removeprefix("socket:[").rstrip("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def test_nothing_of_the_users_goes_into_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Profiles, keys, endpoints, proxies and certificates of the user do not reach the stack."""
    foreign = {
        "AWS_PROFILE": "work",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_ENDPOINT_URL": "https://elsewhere",
        "AWS_CA_BUNDLE": "/elsewhere.pem",
        "VMAKE_API_KEY": "sk-real",
        "SAM_CLI_POLL_DELAY": "9",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    assert foreign.items().isdisjoint(environment.bare(tmp_path).items())
    built = environment.sam_build(tmp_path)
    assert foreign.items().isdisjoint(built.items())
    assert built["HTTPS_PROXY"] == "http://proxy", "packages may come through it"
    deployed = environment.sam_deploy(
        tmp_path,
        endpoint="https://here",
        ca_bundle=tmp_path,
        credentials=environment.new_credentials(),
    )
    assert foreign.items().isdisjoint(deployed.items())
    assert "HTTPS_PROXY" not in deployed
    assert environment.take_api_key() == "sk-real"
    assert "VMAKE_API_KEY" not in os.environ


def test_the_runtime_is_this_machines() -> None:
    """The functions are built for the interpreter that runs them."""
    runtime, architecture = ministack.runtime()
    assert runtime in {"python3.11", "python3.12", "python3.13", "python3.14"}
    assert architecture in {"x86_64", "arm64"}
