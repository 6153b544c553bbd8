"""The `catwalk` command: its output, questions and effects; it never shows a traceback."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from botocore.session import Session
from rich.text import Text

from cli import __version__
from cli.main import _MODULES, _commands_of
from cli.stacks.selection import Condition
from cli.terminal.output import shown
from cli.terminal.words import STATUS_WORDS
from shared.clock import iso, later, utc_now
from shared.limits.circuit_breaker import CircuitBreaker, Permit
from shared.models import ErrorCode, JobError, JobStatus, Photo, Waiting
from tests.cli_runner import NOW, Prompt, Shell, refusal
from tests.factories import TABLE, dropped

ROOT = Path(__file__).parents[2]

# --- each command --------------------------------------------------------------------------------

COMMANDS = [
    pytest.param(["recopy"], "PARTIAL", "free", "no credits", ("RUNNING", 2), id="recopy"),
    pytest.param(["resume"], "FAILED", "free", "no credits", ("RUNNING", 2), id="resume"),
    pytest.param(["regenerate"], "FAILED", "1 credit", "1 credit", ("ACCEPTED", 2), id="regen"),
    pytest.param(
        ["resolve", "--task-id", " t-1 "],
        *("SUBMIT_UNKNOWN", "free", "no credits", ("RUNNING", 1)),
        id="resolve-task",
    ),
    pytest.param(
        ["resolve", "--charged"],
        *("SUBMIT_UNKNOWN", "free", "no credits", ("FAILED", 1)),
        id="resolve-charged",
    ),
    pytest.param(
        ["resolve", "--not-charged"],
        *("SUBMIT_UNKNOWN", "1 credit", "1 credit", ("ACCEPTED", 2)),
        id="resolve-not-charged",
    ),
]


def test_version(shell: Shell) -> None:
    """`--version` prints the version that pyproject.toml takes from the same place."""
    assert shell("--version") == (0, f"catwalk {__version__}\n", "")


@pytest.mark.parametrize(("command", "status", "price", "total", "after"), COMMANDS)
def test_what_a_command_says_asks_and_does(
    shell: Shell, command: list[str], status: str, price: str, total: str, after: tuple[str, int]
) -> None:
    """A dry run shows the price; without a yes nothing changes; with a yes the job is recovered."""
    shell.job(status=JobStatus(status))
    before = shell.state()
    code, out, _ = shell(*command, "j", "--dry-run")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.strip().startswith("j ")]
    cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
    word = STATUS_WORDS[JobStatus(status)]
    assert cells[:4] == ["j", "a/dress.jpg", "Clara, own background", word]
    assert line.rstrip().endswith(price)
    assert (
        f"1 of 1 job can be recovered, for {'up to ' if total != 'no credits' else ''}{total}."
        in out
    )
    for says in ("n\n", "\n", ""):
        code, out, err = shell(*command, "j", says=says)
        assert (code, "Nothing was done." in err, "--yes" in err) == (1, True, True)
        assert ("spend up to 1 credit?" in out) is (price != "free")
    assert shell.state() == before
    code, out, _ = shell(*command, "j", "--yes")
    assert code == 0
    assert shell.now() == after
    assert (
        out.splitlines()[-1]
        == {
            "RUNNING": f"j: a/dress.jpg continues as attempt {after[1]}.",
            "ACCEPTED": "j: a/dress.jpg continues as attempt 2.",
            "FAILED": "j: a/dress.jpg is failed now.",
        }[after[0]]
    )


def test_yes_at_the_prompt(shell: Shell) -> None:
    """After the answer yes, the command does its work."""
    shell.job()
    assert shell("resume", "j", says="y\n")[0] == 0
    assert shell.now() == ("RUNNING", 2)
    assert shell.waiting() == 1


def test_ctrl_c_at_the_question(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at a question changes nothing, and no option is advised."""
    shell.job()
    before = shell.state()

    def interrupt(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.confirm", _confirm(interrupt))
    code, _, err = shell("resume", "j")
    assert (code, err, shell.state()) == (130, "Nothing was done.\n", before)


def _confirm(read: Callable[[], str]) -> Callable[[str], bool]:
    """Return a prompt that is interrupted as Typer's is: Abort hides the KeyboardInterrupt."""

    def confirm(_: str) -> bool:
        try:
            return read() == "y"
        except (KeyboardInterrupt, EOFError):
            raise typer.Abort from None

    return confirm


@pytest.mark.parametrize("words", [["-h"], ["jobs", "-h"], ["jobs", "--help"]])
def test_short_help(shell: Shell, words: list[str]) -> None:
    """`-h` helps as `--help` does."""
    code, out, err = shell(*words)
    assert (code, "Usage: catwalk" in out, err) == (0, True, "")


@pytest.mark.parametrize("name", ["failed", "FAILED", "Failed"])
def test_status_by_name(shell: Shell, name: str) -> None:
    """A status may be given as its word or its code."""
    shell.job("j")
    shell.job("k", JobStatus.SUBMIT_UNKNOWN)
    out = shell("jobs", "--status", name, "--json")[1]
    assert [json.loads(line)["jobId"] for line in out.splitlines()] == ["j"]
    for unknown in ("needs-you", "Needs you", "submit_unknown", "SUBMIT_UNKNOWN"):
        out = shell("jobs", "--status", unknown, "--json")[1]
        assert [json.loads(line)["jobId"] for line in out.splitlines()] == ["k"]


@pytest.mark.parametrize("command", ["recopy", "resume", "regenerate", "resolve --charged"])
def test_nothing_is_selected(shell: Shell, command: str) -> None:
    """A command that is not told which jobs, or finds none, says so and what to do."""
    before = shell.state()
    code, _, err = shell(*command.split())
    assert (code, len(err.splitlines())) == (1, 2)
    assert "No jobs are named." in err
    for words in (["--folder", "none"], ["--sku", "none"], ["--folder", "none", "--dry-run"]):
        code, _, err = shell(*command.split(), *words)
        assert (code, err.splitlines()[0]) == (1, "No job matches.")
    code, _, err = shell(*command.split(), "nobody", "--yes")
    assert (code, err.splitlines()[0]) == (1, "There is no job 'nobody'.")
    assert shell.state() == before


@pytest.mark.parametrize("command", ["recopy", "resume", "regenerate", "resolve --not-charged"])
@pytest.mark.parametrize("option", ["--folder", "--sku"])
def test_empty_option_is_not_every_photo(shell: Shell, command: str, option: str) -> None:
    """An empty option, as from an unset shell variable, is refused."""
    shell.job()
    before = shell.state()
    code, _, err = shell(*command.split(), option, "", "--yes")
    assert (code, err.splitlines()[0]) == (1, f"{option} is empty.")
    assert shell.state() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Give exactly one of"),
        (["--charged", "--not-charged"], "Give exactly one of"),
        (["--task-id", "t", "--charged"], "Give exactly one of"),
        (["--task-id", "t"], "Give one job id"),
        (["--task-id", "t", "j", "k"], "Give one job id"),
        (["--task-id", "t", "--all"], "Give one job id"),
        (["--task-id", " ", "j"], "Give it as the vendor shows it"),
    ],
)
def test_resolve_without_one_finding(shell: Shell, words: list[str], says: str) -> None:
    """`resolve` needs exactly one finding, and a task id needs exactly one job."""
    shell.job(status=JobStatus.SUBMIT_UNKNOWN)
    before = shell.state()
    code, _, err = shell("resolve", *words, "--yes")
    assert (code, says in err) == (1, True)
    assert shell.state() == before


def test_resolve_all(shell: Shell) -> None:
    """`resolve --all` selects every SUBMIT_UNKNOWN job and no other."""
    shell.job("j", JobStatus.SUBMIT_UNKNOWN)
    shell.job("k", JobStatus.SUBMIT_UNKNOWN, source_key="b/dress.jpg")
    shell.job("l")
    code, out, _ = shell("resolve", "--not-charged", "--all", "--dry-run")
    assert (code, "2 of 2 jobs can be recovered, for up to 2 credits." in out) == (0, True)
    assert shell("resolve", "--charged", "--folder", "b", "--yes")[0] == 0
    assert [shell.now(job)[0] for job in "jkl"] == ["SUBMIT_UNKNOWN", "FAILED", "FAILED"]


def test_jobs_that_cannot_are_left_out_with_the_reason(shell: Shell) -> None:
    """Jobs that can be recovered are recovered; the others say why not."""
    shell.job("j")
    shell.job("k", JobStatus.SUCCEEDED)
    code, out, _ = shell("resume", "j", "k", "--yes")
    assert code == 1, "one of those that were named was not done"
    assert "1 of 2 jobs can be recovered, for no credits." in out
    assert "recopy it to copy" in out
    assert [shell.now(job) for job in "jk"] == [("RUNNING", 2), ("SUCCEEDED", 1)]
    assert shell("resume", "k", "--yes")[0] == 1
    shell.job("l")
    assert shell("resume", "--folder", "a", "--status", "FAILED", "--yes")[0] == 0


def test_folder_without_a_status_means_those_without_images(shell: Shell) -> None:
    """Without --status, a folder's successful jobs are not selected."""
    shell.job("good", JobStatus.SUCCEEDED)
    shell.job("bad", JobStatus.REJECTED)
    assert shell("regenerate", "--folder", "a", "--yes")[0] == 0
    assert [shell.now(job)[1] for job in ("good", "bad")] == [1, 2]
    assert shell("regenerate", "--folder", "a", "--status", "succeeded", "--yes")[0] == 0
    assert shell.now("good")[1] == 2


def test_job_that_moves_on_while_a_person_thinks(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that changed between question and answer is left alone, and the output says so."""
    job = shell.job()

    def answer(_: str) -> bool:
        shell.jobs.take_up(job, execution_arn="arn")
        return True

    monkeypatch.setattr("typer.confirm", answer)
    code, out, _ = shell("resume", "j")
    assert (code, "j: it has changed meanwhile; nothing was done." in out) == (1, True)
    assert shell.waiting() == 0


def test_photo_without_settings_is_looked_at_anew(shell: Shell) -> None:
    """Regenerating a rejected job processes its photo again, and the output says so."""
    shell.job(status=JobStatus.REJECTED, settings=None, dropped=True)
    code, out, _ = shell("regenerate", "--sku", "S-1")
    assert code == 1
    code, out, _ = shell("regenerate", "--status", "REJECTED", "--yes")
    assert (code, "is processed again" in out) == (0, True)
    assert shell.waiting() == 1


# --- what is shown -------------------------------------------------------------------------------


def test_long_list_in_a_pipe_is_whole(shell: Shell) -> None:
    """In a pipe, each job is one line, however long its names are."""
    folder = "a" * 100
    for number in range(30):
        shell.job(f"{number:032x}", source_key=f"{folder}/dress-{number}.jpg")
    code, out, _ = shell("resume", "--folder", folder, "--dry-run")
    assert code == 0
    lines = [line for line in out.splitlines() if f"{folder}/dress-" in line]
    assert len({line.split()[0] for line in lines}) == len(lines) == 30
    assert "30 of 30 jobs can be recovered, for no credits." in out


def test_long_list_on_a_terminal_is_cut(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows the first twenty jobs, the number of others, and reasons with counts."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    for number in range(22):
        shell.job(f"job-{number:02}")
    shell.job("job-90", task_id=None)
    _, out, _ = shell("resume", "--folder", "a", "--dry-run")
    assert out.count("dress.jpg") == 20
    assert "… and 3 more." in out
    assert "22 of 23 jobs can be recovered, for no credits." in out
    assert "1 cannot: It has no task" in out


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[/] [red]x.jpg", "[/] [red]x.jpg"),
        (":dress: été.jpg", ":dress: été.jpg"),
        ("\x1b[2J\nx.jpg", r"\x1b[2J\nx.jpg"),
    ],
)
def test_photos_name_is_shown_as_it_is(shell: Shell, name: str, shown: str) -> None:
    """A photo's name is printed neither as markup nor as a terminal command."""
    shell.job(source_key=f"a/{name}")
    code, out, _ = shell("resume", "j", "--yes")
    assert code == 0
    assert f"a/{shown} " in out
    assert f"j: a/{shown} continues" in out


# --- credits -------------------------------------------------------------------------------------


def test_credits(shell: Shell) -> None:
    """Credits are summed by day, article and folder, with unknown ones in their own column."""
    code, out, _ = shell("credits")
    assert (code, out.split()) == (0, ["day", "credits", "unknown", "all", "0"])
    sent: dict[str, Any] = {"status": JobStatus.RUNNING, "submitted_at": NOW}
    shell.ledger.enter(shell.job("j", sku="S-1", **sent))
    shell.ledger.enter(shell.job("k", sku="[red]", source_key="b/[/]/x.jpg", **sent))
    shell.ledger.enter(shell.job("l", source_key="x.jpg", **sent))
    shell.ledger.doubt(shell.job("m", JobStatus.SUBMIT_UNKNOWN))
    rows = {
        by: [line.split() for line in shell("credits", "--by", by)[1].splitlines()]
        for by in ("day", "sku", "folder")
    }
    assert rows["day"][1:] == [[NOW[:10], "3", "1"], ["all", "3", "1"]]
    assert rows["sku"][1:-1] == [["(none)", "1", "1"], ["S-1", "1"], ["[red]", "1"]]
    assert rows["folder"][1:-1] == [["(top)", "1"], ["a", "1", "1"], ["b/[/]", "1"]]


@pytest.mark.parametrize(
    "words", [["--by", "week"], ["--days", "0"], ["--days", "999999999"], ["--days", "x"]]
)
def test_credits_of_what_there_is_not(shell: Shell, words: list[str]) -> None:
    """An invalid grouping or number of days is refused, with the valid ones."""
    code, _, err = shell("credits", *words)
    assert (code, err.startswith(f"{words[0]} {words[1]!r} is "), "Give " in err) == (2, True, True)


# --- redrive -------------------------------------------------------------------------------------


def test_redrive(shell: Shell) -> None:
    """Dead letters are counted and priced, and sent again after a confirmation."""
    code, out, _ = shell("redrive")
    assert (code, out) == (0, "0 dead letters in catwalk.\n")
    for number in range(2):
        body = json.dumps(dropped(f"a/{number}.jpg", event_id=f"e-{number}"))
        shell.aws.sqs.send_message(QueueUrl=shell.dead_url, MessageBody=body)
    before = shell.state()
    code, out, _ = shell("redrive", "--dry-run")
    assert (code, "2 dead letters" in out, "costs one credit" in out) == (0, True, True)
    assert shell("redrive", says="n\n")[0] == 1
    assert shell.state() == before
    code, out, _ = shell("redrive", "--yes")
    assert (code, out.splitlines()[-1]) == (0, "2 sent again.")
    assert (shell.waiting(), shell.waiting(shell.dead_url)) == (2, 0)
    assert shell("redrive", "--json")[0] == 1
    nothing = {"deadLetters": 0, "sent": 0, "sentFromRecords": 0}
    assert json.loads(shell("redrive", "--json", "--yes")[1]) == nothing


def test_redrive_without_the_letter(shell: Shell) -> None:
    """Deleted dead letters are rebuilt from records; those that cannot be are named."""
    old = iso(utc_now() - timedelta(days=15))
    dead: dict[str, Any] = {"settings": None, "task_id": None, "updated_at": old}
    dead |= {"error": JobError(code=ErrorCode.INTERNAL, message="Dead."), "dead_letter": "m-1"}
    body = json.dumps(dropped("a/dress.jpg"))
    shell.job("whole", **dead, dead_body=body)
    shell.job("little", **dead, photo=Photo(url="https://shop.example.com/a.jpg"))
    before = shell.state()
    code, out, _ = shell("redrive", "--dry-run")
    assert code == 0
    assert "1 no longer in the queue; the records hold them." in out
    assert "little: the record does not hold its request; send the request again." in out
    assert shell.state() == before
    assert shell("redrive", "--yes")[1].splitlines()[-1] == "1 sent again."
    assert shell.aws.take(shell.url) == [body]
    assert shell.jobs.get("whole") is None
    assert shell.jobs.get("little") is not None


def pause(shell: Shell, *, seconds: float = 600) -> None:
    """Pause submission."""
    until = later(utc_now(), seconds)
    values = {"until": until, "reason": "the key was refused", "cause": "key_refused"}
    shell.aws.dynamodb.put_item(
        TableName=TABLE,
        Item={"pk": {"S": "CONTROL#submit"}, **{k: {"S": v} for k, v in values.items()}},
    )


def test_reconcile_during_a_pause(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reconcile` says until when and why submission is paused, and sends nothing."""
    pause(shell)
    shell.job(status=JobStatus.ACCEPTED, waiting=Waiting(until=NOW, reason="paused"), task_id=None)
    monkeypatch.setattr("cli.commands.recover.key_is_taken", lambda _: False)
    out = shell("reconcile")[1]
    assert "Submission is paused until " in out
    assert "UTC: the key was refused. Then one photo is tried;" in out
    assert shell.waiting() == 0


def test_reconcile_ends_a_pause_whose_cause_is_mended(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the vendor now accepts the key, `reconcile` sends one photo at once."""
    pause(shell)
    for number in range(3):
        waiting = Waiting(until=NOW, reason="paused")
        shell.job(f"j{number}", JobStatus.ACCEPTED, waiting=waiting, task_id=None)
    monkeypatch.setattr("cli.commands.recover.key_is_taken", lambda _: True)
    assert "a/dress.jpg is tried at once" in shell("reconcile")[1]
    (body,) = shell.aws.take(shell.url)
    assert json.loads(body)["detail"]["jobId"].startswith("j")
    assert isinstance(CircuitBreaker(shell.aws.dynamodb, TABLE).ask(), Permit)


def test_reconcile(shell: Shell) -> None:
    """`reconcile` prints counts; a failure is a sentence and a next step."""
    assert shell("reconcile") == (0, "Nothing is stuck.\n", "")
    shell.stacks.reconciled = {"running": 2}
    assert shell("reconcile")[1].splitlines() == ["2 running", "Nothing else is stuck."]
    assert json.loads(shell("reconcile", "--json")[1]) == {"running": 2}
    shell.stacks.reconciled = {"errorMessage": "It broke."}
    code, _, err = shell("reconcile")
    assert (code, err.splitlines()[0]) == (1, "ReconcileFunction failed: It broke.")


# --- which stack ---------------------------------------------------------------------------------


def test_unknown_stack(shell: Shell) -> None:
    """A missing stack, or one that is not Catwalk's, is named in the error."""
    for command in (["resume", "j"], ["credits"], ["redrive"], ["resolve", "--charged", "j"]):
        code, _, err = shell(*command, "--stack", "nowhere")
        assert (code, "no stack 'nowhere'" in err, "--stack" in err) == (1, True, True)
    shell.stacks.outputs["other"] = {"PhotosBucketName": "p"}
    code, _, err = shell("credits", "--stack", "other")
    assert (code, "has no output JobsTableName" in err) == (1, True)
    code, _, err = shell("credits", "--stack", "")
    assert (code, "name is empty" in err) == (1, True)


def test_stack_from_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """CATWALK_STACK selects the stack."""
    monkeypatch.setenv("CATWALK_STACK", "nowhere")
    assert "no stack 'nowhere'" in shell("credits")[2]


def test_stack_that_nobody_named_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that changes or spends names its stack, unless the person has just named it."""
    shell.job()
    monkeypatch.delenv("CATWALK_STACK")
    monkeypatch.setattr("cli.stacks.selection.condition", lambda _: Condition.NONE)
    for command in (["regenerate", "j", "--yes"], ["reconcile"]):
        code, _, err = shell(*command)
        assert (
            code,
            "No stack is named; the default would be the stack 'catwalk' in us-east-1" in err,
        ) == (1, True)
    assert shell.now() == ("FAILED", 1)
    assert shell("regenerate", "j", "--dry-run")[2] == ""
    assert shell("credits")[2] == ""
    assert shell("reconcile", "--stack", "catwalk")[2] == ""
    told = "This is about the stack 'catwalk' in us-east-1 (used last).\n"
    assert shell("reconcile")[2] == told


def test_two_stacks_may_be_meant(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a laptop's stack runs, a stack on AWS that was used last must be named."""
    shell.job()
    monkeypatch.delenv("CATWALK_STACK")
    monkeypatch.setattr("cli.stacks.selection.condition", lambda _: Condition.UP)
    assert shell("credits", "--stack", "catwalk")[0] == 0
    code, _, err = shell("regenerate", "j", "--yes")
    assert (code, "Two stacks may be meant: the stack 'catwalk' in us-east-1" in err) == (1, True)
    assert shell.now() == ("FAILED", 1)
    assert shell("regenerate", "j", "--yes", "--stack", "catwalk")[0] == 0


def test_stack_that_is_elsewhere(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a stack was used in another region before, the next step names that region."""
    assert shell("credits", "--stack", "catwalk")[0] == 0
    shell.stacks.outputs.clear()
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    code, _, err = shell("credits", "--stack", "catwalk")
    assert code == 1
    assert "no stack 'catwalk' in eu-west-1" in err
    assert "AWS_REGION=us-east-1" in err


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "You must specify a region."),
        ({"AWS_REGION": "us-east-1"}, "Unable to locate credentials."),
        ({"AWS_REGION": "us east"}, "'us east'"),
        ({"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "nowhere"}, "Invalid endpoint"),
        ({"AWS_PROFILE": "nobody"}, "(nobody) could not be found."),
        (
            {
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
                "AWS_MAX_ATTEMPTS": "1",
            },
            "Could not connect",
        ),
    ],
)
def test_shell_without_aws(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    says: str,
) -> None:
    """Each error of AWS or its configuration is a sentence and a next step."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    off = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in (off | environment).items():
        monkeypatch.setenv(name, value)
    # main() sets it; monkeypatch is to remove it.
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr("shared.clients._session", Session)
    code, _, err = Prompt(monkeypatch, capsys)("credits")
    assert code == 1
    assert says in err
    assert ".." not in err
    assert len(err.splitlines()) == 2


def test_wrong_credentials(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A denied call is not reported as a missing stack."""

    def refuse(*, StackName: str) -> None:  # noqa: N803  AWS's names
        raise refusal("InvalidClientTokenId", "The security token is invalid.")

    monkeypatch.setattr(shell.stacks, "describe_stacks", refuse)
    code, _, err = shell("credits")
    assert code == 1
    assert "The security token is invalid." in err
    assert "credentials" in err
    assert "deploy" not in err


def test_right_that_is_missing_halfway(shell: Shell) -> None:
    """An error of a later call is a sentence, too."""
    shell.job()
    shell.aws.sqs.delete_queue(QueueUrl=shell.url)
    code, _, err = shell("resume", "j", "--yes")
    assert (code, err.startswith("AWS refused the request: ")) == (1, True)


def test_item_that_is_no_job(shell: Shell) -> None:
    """An item that cannot be read as a job is named in the error."""
    texts = {"pk": "OTHER#1", "status": "FAILED", "updated_at": NOW}
    item = {name: {"S": text} for name, text in texts.items()}
    shell.aws.dynamodb.put_item(TableName=TABLE, Item=item)
    for command in (["jobs"], ["watch", "--once"], ["regenerate", "--status", "FAILED", "--yes"]):
        code, _, err = shell(*command)
        assert (code, len(err.splitlines())) == (1, 2)
        assert "an item 'OTHER#1' that cannot be read as a job: jobId: Field required." in err


def test_json_where_the_locale_has_no_such_letter(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without UTF-8 output, --json uses JSON escapes."""
    shell.job(source_key="été/ش.jpg")
    for encoding in ("ascii", "latin-1", "utf-8"):
        written = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
            assert shell("jobs", "--json")[0] == 0
            sys.stdout.flush()
            assert json.loads(written.getvalue().decode())["sourceKey"] == "été/ش.jpg"


def test_stream_that_the_shell_has_closed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a closed output (`>&-`), the command works and prints nothing."""
    shell.job()
    monkeypatch.setattr(sys, "stdout", None)
    assert shell("jobs", "--json") == (0, "", "")
    sys.stdout.close()


def test_styled_text_is_shown_as_it_is() -> None:
    """Control characters are also escaped in styled lines, and the style stays."""
    line = Text("\u202ea: ").append("FAILED", style="red").append(" \x1b[2J")
    safe = shown(line)
    assert safe.plain == r"\u202ea: FAILED \x1b[2J"
    assert [safe.plain[span.start : span.end] for span in safe.spans] == ["FAILED"]


def test_command_as_a_process() -> None:
    """On a machine without AWS settings, `python -m cli` ends with a sentence and no traceback."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "LC_ALL": "C",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CATWALK_HOME": os.environ["CATWALK_HOME"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "cli", "credits"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "AWS cannot be asked for the stack 'catwalk': You must specify a region.",
        (
            "Set credentials and region as for the AWS CLI; for the stack of `catwalk up`, say"
            " `--stack laptop`."
        ),
    ]


def test_every_command_is_listed() -> None:
    """The group lists the commands of each module of cli/commands, in their order."""
    modules = {file.stem for file in (ROOT / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert set(_MODULES.values()) == modules
    for module in modules:
        listed = [name for name, its_module in _MODULES.items() if its_module == module]
        assert list(_commands_of(module)) == listed


def test_a_command_imports_only_what_it_needs() -> None:
    """A command imports no other command's module, and `jobs` no HTTP client and no boto3."""
    script = (
        "import contextlib, sys; from cli.main import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print(*(name for name in sys.modules if name.startswith(('cli.commands.', 'boto3'))"
        " or name in {'httpx', 's3transfer', 'PIL', 'starlette'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "jobs", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "cli.commands.inspect"
