"""How `catwalk` selects the stack and the project's folder."""

import json
import os
import shutil
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.stacks import project as homes
from cli.stacks import selection
from cli.stacks.project import find_project, refresh
from cli.stacks.selection import Choice, ChosenBy, Condition, LastUsed, choose, read_last, remember
from local.stack.state import Address, State, StateFolder

AWS = [
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    *("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE"),
]


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a new user's shell in an empty folder; return the folder."""
    # What choosing sets is taken back afterwards.
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in [*AWS, "CATWALK_STACK", "CATWALK_HOME"]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(homes, "_CODE", installed(tmp_path / "installed"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def project(folder: Path) -> Path:
    """Make a folder look like a clone."""
    for name in homes.NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def installed(folder: Path) -> Path:
    """Make a folder look like an installed command's sources."""
    project(folder)
    (folder / ".installed").touch()
    return folder


def up(folder: Path, port: int = 1) -> Path:
    """Write the state of a laptop stack that seems to run."""
    state = StateFolder(folder / ".catwalk" / "up")
    state.path.mkdir(parents=True)
    address = Address(f"https://127.0.0.1:{port}", "ca.pem", f"http://vendor:{port}", {})
    state.write(State((), address))
    return folder


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every local AWS with a stored state answer."""
    monkeypatch.setattr("local.stack.ministack.answers", lambda *_: True)


def choose_anew(name: str | None = None) -> Choice:
    """Select a stack as a new process does."""
    before = dict(os.environ)
    try:
        return choose(name)
    finally:
        for variable in set(os.environ) - set(before):
            del os.environ[variable]
        os.environ.update(before)


# --- which stack ---------------------------------------------------------------------------------


def test_new_user() -> None:
    """Without any hint, the stack is `catwalk` in the shell's AWS account and region."""
    assert choose(None) == Choice("catwalk", laptop=False, chosen_by=ChosenBy.DEFAULT)


def test_order(shell: Path, monkeypatch: pytest.MonkeyPatch, answering: None) -> None:
    """The option has priority, then the variable, the stack used last, and the laptop's stack."""
    up(project(shell))
    assert choose_anew(None).laptop
    remember(Choice("shop", laptop=False))
    assert choose_anew(None) == Choice("shop", laptop=False, chosen_by=ChosenBy.LAST)
    monkeypatch.setenv("CATWALK_STACK", "named")
    assert choose_anew(None) == Choice("named", laptop=False, chosen_by=ChosenBy.VARIABLE)
    assert choose_anew("said") == Choice("said", laptop=False, chosen_by=ChosenBy.OPTION)
    assert choose_anew("laptop").laptop


def test_laptop_needs_no_settings(
    shell: Path, monkeypatch: pytest.MonkeyPatch, answering: None
) -> None:
    """For a laptop's stack, the process uses the local AWS and nothing of the user's."""
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    up(project(shell), port=7)
    choice = choose("laptop")
    assert (choice.name, choice.vendor_url, choice.project) == ("catwalk", "http://vendor:7", shell)
    assert os.environ["AWS_ENDPOINT_URL"] == "https://127.0.0.1:7"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "test"
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & os.environ.keys()


@pytest.mark.parametrize("name", ["", "  "])
def test_empty_name(name: str) -> None:
    """An empty CATWALK_STACK names no stack."""
    with pytest.raises(CommandError, match="name is empty"):
        choose(name)


def test_last_used_is_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Region and profile are remembered, and a shell that says others is taken at its word."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    remember(Choice("shop", laptop=False))
    assert read_last() == LastUsed("shop", "eu-west-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    choose(None)
    assert selection.region() == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    choose(None)
    assert selection.region() == "us-west-2"


@pytest.mark.parametrize(
    ("given", "profile"),
    [({}, "work"), ({"AWS_PROFILE": "mine"}, "mine"), ({"AWS_ACCESS_KEY_ID": "a"}, None)],
)
def test_last_profile(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], profile: str | None
) -> None:
    """The profile of the last used is used again, unless the shell has credentials of its own."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    selection.follow(LastUsed("shop", profile="work"))
    assert os.environ.get("AWS_PROFILE") == profile


def test_shell_that_leads_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AWS_ENDPOINT_URL, the stack used last is neither used nor changed."""
    remember(Choice("shop", laptop=False))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert choose(None) == Choice("catwalk", laptop=False)
    remember(Choice("other", laptop=False))
    assert (read_last() or LastUsed("")).name == "shop"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"name": 5}', '{"name": "x", "region": 1}', "\x00"]
)
def test_settings_that_cannot_be_read(text: str) -> None:
    """An unreadable settings file counts as empty and is replaced."""
    file = selection._file()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert read_last() is None
    assert choose(None).name == "catwalk"
    remember(Choice("shop", laptop=False))
    assert choose(None).name == "shop"


def test_settings_of_a_later_version() -> None:
    """Unknown settings of a later version are ignored."""
    file = selection._file()
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"name": "shop", "moon": "full"}))
    assert read_last() == LastUsed("shop")


def test_settings_that_cannot_be_written(
    shell: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the settings cannot be written, there is a warning and no error."""
    (shell / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(shell / "file"))
    remember(Choice("shop", laptop=False))
    selection.forget_laptop(shell)
    assert "could not be saved" in capsys.readouterr().err
    assert choose(None).name == "catwalk"


# --- laptop stacks -------------------------------------------------------------------------------


def test_laptop_that_is_gone_is_not_aws(shell: Path, answering: None) -> None:
    """If the laptop's stack was used last and is gone, no stack on AWS is used instead."""
    up(project(shell))
    remember(choose_anew("laptop"))
    assert choose_anew(None).laptop
    shutil.rmtree(shell / ".catwalk")
    with pytest.raises(CommandError, match="used last, is not up") as caught:
        choose_anew(None)
    assert "catwalk down" in caught.value.next_step
    selection.forget_laptop(shell)
    assert choose_anew(None) == Choice("catwalk", laptop=False)


def test_laptop_of_another_clone(
    shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: None
) -> None:
    """From anywhere the last used; in a clone with a stack of its own that one."""
    one, two = (up(project(tmp_path / name), port) for name, port in (("one", 1), ("two", 2)))
    monkeypatch.chdir(one)
    remember(choose_anew("laptop"))
    monkeypatch.chdir(shell)
    assert choose_anew(None).project == one
    monkeypatch.chdir(two)
    assert choose_anew(None).project == two
    # `down` in a clone forgets no other one's.
    selection.forget_laptop(two)
    monkeypatch.chdir(shell)
    assert choose_anew(None).project == one


def test_how_a_laptop_stack_is(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop's stack is not started, running, silent or gone."""
    assert selection.condition(shell) is Condition.NONE
    up(shell)
    monkeypatch.setattr("local.stack.ministack.answers", lambda *_: True)
    assert selection.condition(shell) is Condition.UP
    monkeypatch.setattr("local.stack.ministack.answers", lambda *_: False)
    assert selection.condition(shell) is Condition.SILENT
    monkeypatch.undo()
    assert selection.condition(shell) is Condition.SILENT, "its certificate is gone"
    monkeypatch.setattr(State, "complete", False)
    assert selection.condition(shell) is Condition.GONE


# --- the project's folder ------------------------------------------------------------------------


def test_code_of_a_clone_is_its_own(
    shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone's command means its clone, wherever it is run."""
    monkeypatch.setattr(homes, "_CODE", project(tmp_path / "clone"))
    project(shell)
    assert find_project().path == tmp_path / "clone"


def test_installed_command(shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a clone, or below it, that clone; else the copy in the user's data folder."""
    assert find_project().path == tmp_path / "data" / "catwalk" / "project"
    assert find_project().images == shell / "catwalk-demo"
    project(shell)
    (shell / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(shell / "deep" / "down")
    assert find_project().path == shell
    assert find_project().images == shell / "out"
    monkeypatch.setattr(os, "getuid", lambda: -1)
    assert find_project().path == tmp_path / "data" / "catwalk" / "project", (
        "somebody else's folder"
    )


def test_shell_of_a_clone(shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that sourced env.sh uses its clone, unless the clone was removed."""
    project(shell)
    monkeypatch.setenv("CATWALK_HOME", str(project(tmp_path / "sourced")))
    assert find_project().path == tmp_path / "sourced"
    shutil.rmtree(tmp_path / "sourced")
    assert find_project().path == shell


def test_copy_follows_its_version(tmp_path: Path) -> None:
    """An update of the copy writes changed files, removes old ones, and keeps the tools."""
    source, target = tmp_path / "installed", tmp_path / "copy"
    for name in ("requirements/a.txt", "old.py", "__pycache__/x.pyc"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    refresh(source, target)
    assert homes.is_project(target)
    assert not (target / ".installed").exists()
    assert not (target / "__pycache__").exists()
    (target / ".tools").mkdir()
    kept, changed = target / "requirements/a.txt", target / "Makefile"
    os.utime(kept, (1, 1))
    (source / "Makefile").write_text("new")
    (source / "old.py").unlink()
    refresh(source, target)
    assert (changed.read_text(), kept.stat().st_mtime) == ("new", 1)
    assert (target / ".tools").is_dir()
    assert not (target / "old.py").exists()


def test_copy_that_was_broken_off_is_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted copy is made again."""
    source, target = tmp_path / "installed", tmp_path / "copy"
    copy, copied = shutil.copyfile, 0

    def dies(one: Path, two: Path) -> None:
        nonlocal copied
        copied += 1
        if copied == 3:
            raise OSError(28, "No space left on device")
        copy(one, two)

    monkeypatch.setattr(shutil, "copyfile", dies)
    with pytest.raises(OSError, match="No space"):
        refresh(source, target)
    monkeypatch.setattr(shutil, "copyfile", copy)
    refresh(source, target)
    assert homes.is_project(target)


def test_tools_without_make(shell: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing `make` is an error that says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="no `make`"):
        homes.make_tools(homes.Project(shell))


def test_tools_see_no_key(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installers get no API key and no outer make's flags; a failure says what to try."""
    monkeypatch.setenv("VMAKE_API_KEY", "sk-1")
    monkeypatch.setenv("MAKEFLAGS", "-n")
    (shell / "Makefile").write_text("laptop:\n\t@env > seen; exit 1\n")
    with pytest.raises(CommandError, match="could not be installed"):
        homes.make_tools(homes.Project(shell))
    assert "sk-1" not in (shell / "seen").read_text()
