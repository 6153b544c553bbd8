"""The digests of a stack's files, and what `up` does when files have changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.stacks import laptop, selection
from local.paths import ROOT
from local.stack import code, environment, stack, usage
from local.stack.code import Code
from local.stack.state import Address, State, StateFolder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the files that stacks are made from."""
    for name in (*code.DEPLOYED, *code.SERVERS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def append(name: str) -> Callable[[Path], None]:
    """Return a function that changes a file."""

    def change(clone: Path) -> None:
        with (clone / name).open("a") as file:
            file.write("# changed\n")

    return change


def rename(clone: Path) -> None:
    """Give a file another name."""
    (clone / "shared" / "clock.py").rename(clone / "shared" / "watch.py")


CHANGES = {
    "a function": (append("functions/poll/handler.py"), {"deployed"}),
    "shared code": (append("shared/vmake/wire.py"), {"deployed"}),
    "another name": (rename, {"deployed"}),
    "the template": (append("template.yaml"), {"deployed"}),
    "the state machine": (append("statemachine/job.asl.yaml"), {"deployed"}),
    "the functions' packages": (append("requirements/functions.txt"), {"deployed"}),
    "the simulated vendor": (append("local/simulator/tasks.py"), {"servers"}),
    "the local AWS": (append("requirements/ministack.txt"), {"servers"}),
    "a description": (append("local/simulator/README.md"), set()),
    "nothing": (lambda _: None, set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change: str, clone: Path) -> None:
    """A change of each file changes the digest of its part."""
    make, expected = CHANGES[change]
    before = Code.present({}, clone)
    make(clone)
    after = Code.present({}, clone)
    assert {n for n in ("deployed", "servers") if getattr(before, n) != getattr(after, n)} == (
        expected
    )


def test_other_parameters_are_a_change() -> None:
    """The stack's parameters are the laptop's own, and belong to what is deployed."""
    assert Code.present({"PollMaxSeconds": "3"}) != Code.present({"PollMaxSeconds": "5"})


# --- up ------------------------------------------------------------------------------------------


def brought_up(
    before: Code | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], State]:
    """Run `up` on a running stack; return what was done, and the state afterwards."""
    folder = StateFolder(tmp_path / "up")
    folder.path.mkdir()
    folder.write(State((), Address("https://127.0.0.1:1", "ca.pem", "", {}), before))
    done: list[str] = []

    def update(running: stack.Stack, plan: stack.Plan, _steps: stack.Steps) -> stack.Stack:
        assert plan.parameters == stack.LAPTOP
        done.append("updated")
        return running

    for name in ("write_env_file", "write_request_file", "print_usage"):
        monkeypatch.setattr(usage, name, lambda *_: None)
    # It would take the region from the tests that come after.
    monkeypatch.setattr(environment, "forget_users_aws", lambda _: None)
    monkeypatch.setattr(selection, "laptop_folder", lambda _: folder)
    monkeypatch.setattr(selection, "remember", lambda _: None)
    monkeypatch.setattr(selection, "laptop_choice", lambda *_: None)
    monkeypatch.setattr("local.stack.ministack.answers", lambda *_: True)
    monkeypatch.setattr(stack, "update", update)
    laptop.start("127.0.0.1", 0)
    return done, folder.read()


def test_up_does_nothing_for_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A running stack of the same code is not changed."""
    present = Code.present(stack.LAPTOP)
    done, state = brought_up(present, tmp_path, monkeypatch)
    assert done == []
    assert state.code == present
    said = capsys.readouterr().out
    assert "already up" in said
    assert "catwalk down" not in said


@pytest.mark.parametrize("known", [True, False])
def test_up_deploys_other_code(
    known: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A running stack of other or unknown code is updated."""
    before = Code("other", Code.present({}).servers) if known else None
    done, _ = brought_up(before, tmp_path, monkeypatch)
    assert done == ["updated"]
    assert ("catwalk down" in capsys.readouterr().out) is not known


def test_up_says_what_it_cannot_bring_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changed servers are not restarted, since that would lose photos, jobs and tasks."""
    before = Code(Code.present(stack.LAPTOP).deployed, "other")
    done, _ = brought_up(before, tmp_path, monkeypatch)
    assert done == []
    assert "`catwalk down`, then `catwalk up`" in " ".join(capsys.readouterr().out.split())


def test_a_state_of_an_older_version(tmp_path: Path) -> None:
    """A stack of an older version is found; its code counts as unknown."""
    folder = StateFolder(tmp_path)
    folder.write(State((), Address("https://127.0.0.1:1", "ca.pem", "", {})))
    file = tmp_path / "state.json"
    file.write_text(file.read_text().replace('"code"', '"unknown"'))
    state = folder.read()
    assert state.address is not None
    assert state.code is None
