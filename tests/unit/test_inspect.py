"""The output of `catwalk jobs`, `show`, `watch` and `credits`."""

import io
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from cli.jobs.watch import Screen, Watcher, note_of
from cli.terminal.output import Column, elided, laid_out
from shared.clock import iso, later, utc_now
from shared.models import JobStatus, Result, Review, ReviewState, Waiting
from tests.cli_runner import NOW, Shell
from tests.factories import TABLE

IDS = ("aaaa" + "0" * 28, "aaaa" + "1" * 28, "bbbb" + "2" * 28)
RESULT = Result(
    index=1,
    bucket="results",
    key="a/dress/002-original/j-1.jpg",
    width=8,
    height=8,
    bytes=2_000,
    sha256="0",
    content_type="image/jpeg",
)


def ids(out: str) -> list[str]:
    """Return the ids in a piped table."""
    return [line.split()[0] for line in out.splitlines()[1:]]


@pytest.fixture
def three(shell: Shell) -> Shell:
    """Make three jobs; the last one changed two days ago."""
    old = later(utc_now(), -2 * 86_400)
    shell.job(IDS[0], JobStatus.SUCCEEDED, results=(RESULT,), sku="S-1", credits=1)
    shell.job(IDS[1], source_key="b/été.jpg")
    shell.job(IDS[2], JobStatus.RUNNING, source_key="c/x.jpg", progress=40, updated_at=old)
    return shell


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {0, 1, 2}),
        (["--status", "failed", "--status", "RUNNING"], {1, 2}),
        (["--folder", "b/"], {1}),
        (["--sku", "S-1"], {0}),
        (["--sku", "S-1", "--since", "1h"], {0}),
        (["--since", "1d"], {0, 1}),
        (["--since", "2020-01-01"], {0, 1, 2}),
        (["ÉTÉ"], {1}),
        (["--model", "clara", "--scene", "original"], {0, 1, 2}),
        (["--model", "mia"], set()),
        (["--scene", "preset:035"], set()),
    ],
)
def test_jobs_by_filter(three: Shell, words: list[str], expected: set[int]) -> None:
    """Each filter shows the matching jobs, in a pipe and as JSON."""
    code, out, err = three("jobs", *words)
    assert (code, set(ids(out))) == (0, {IDS[number] for number in expected})
    assert ("No job matches." in err) is (not expected)
    _, out, _ = three("jobs", *words, "--json")
    assert {json.loads(line)["jobId"] for line in out.splitlines()} == set(ids_of(expected))


def ids_of(numbers: set[int]) -> list[str]:
    """Return the ids of some of the three."""
    return [IDS[number] for number in numbers]


@pytest.mark.parametrize(
    ("state", "note"),
    [("approved", "1 image, approved"), ("refused", "1 image, refused"), ("to_review", "1 image")],
)
def test_jobs_say_what_was_decided(shell: Shell, state: str, note: str) -> None:
    """The note of a job with images says whether they were approved or refused."""
    review = Review(state=ReviewState(state), by="anna", at=NOW, revision=1)
    job = shell.job("j", JobStatus.SUCCEEDED, results=(RESULT,), review=review)
    assert note_of(job) == note
    assert note in shell("jobs")[1]


def test_more_than_the_limit(shell: Shell) -> None:
    """The newest jobs come first, with a hint how to see more."""
    for number in range(7):
        shell.job(f"{number:032x}", updated_at=later(utc_now(), number))
    code, out, err = shell("jobs", "--limit", "3")
    assert (code, ids(out)) == (0, [f"{number:032x}" for number in (6, 5, 4)])
    assert "There are more: --limit 15" in err
    assert len(ids(shell("jobs", "--limit", "0")[1])) == 7
    assert shell("jobs", "--limit", "7")[2] == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--since", "yesterday"], "--since 'yesterday'"),
        (["--since", "999999w"], "--since '999999w'"),
        (["--scene", "beach"], "--scene 'beach'"),
        (["--model", "claara"], "Did you mean 'clara'"),
        (["--folder", ""], "--folder is empty."),
        (["--sku", " "], "--sku is empty."),
    ],
)
def test_filter_that_makes_no_sense(shell: Shell, words: list[str], says: str) -> None:
    """A filter that makes no sense is refused with two sentences."""
    code, _, err = shell("jobs", *words)
    assert (code, says in err, len(err.splitlines())) == (1, True, 2)


def test_json_has_what_a_job_waits_for(shell: Shell) -> None:
    """--json prints the record in the form of events, with `waiting` and `deadLetter`."""
    waiting = Waiting(until=NOW, reason="no credits")
    shell.job(status=JobStatus.ACCEPTED, waiting=waiting, dead_letter="m-1", task_id=None)
    (record,) = [json.loads(line) for line in shell("jobs", "--json")[1].splitlines()]
    assert record["waiting"] == {"until": NOW, "reason": "no credits"}
    assert (record["deadLetter"], record["schemaVersion"]) == ("m-1", "1")


# --- show ----------------------------------------------------------------------------------------


def test_show(three: Shell) -> None:
    """`show` finds a job by its id, the beginning of its id, or its photo's key."""
    for name in (IDS[1], IDS[1][:5], "b/été.jpg", "s3://photos/b/été.jpg"):
        code, out, err = three("show", name)
        assert (code, err) == (0, "")
        lines = [line.split() for line in out.splitlines()]
        assert ["job", IDS[1]] in lines
        assert ["status", "Failed", "(FAILED),", "after", "0.0", "s"] in lines
        assert f"    catwalk resume {IDS[1]}" in out.splitlines()
    assert "s3://results/a/dress/002-original/j-1.jpg  8 x 8, 2 KiB" in three("show", IDS[0])[1]


def test_show_for_programs(three: Shell) -> None:
    """`show` prints the record, its timeline, and the next steps with their prices."""
    document = json.loads(three("show", IDS[1], "--json")[1])
    assert document["jobId"] == IDS[1]
    assert [moment["title"] for moment in document["timeline"]][-1] == "Failed"
    assert {step["command"]: step["credits"] for step in document["next"]} == {
        f"catwalk resume {IDS[1]}": 0,
        f"catwalk regenerate {IDS[1]}": 1,
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("aaaa", "2 job ids begin with 'aaaa'."),
        ("", "no request ''"),
        ("nobody", "no job, no photo and no request 'nobody'"),
    ],
)
def test_show_nobody(three: Shell, name: str, says: str) -> None:
    """A missing or ambiguous job is an error that says so."""
    code, _, err = three("show", name)
    assert (code, says in err, len(err.splitlines())) == (1, True, 2)


def test_photo_of_several_jobs(three: Shell) -> None:
    """Of several jobs of a photo, the newest is shown and the others are listed."""
    three.job("cccc" + "3" * 28, source_key="c/x.jpg", created_at="2020-01-01T00:00:00.000Z")
    out = three("show", "c/x.jpg")[1]
    assert "1 other job of c/x.jpg:" in out
    assert out.index(IDS[2]) < out.index("cccc" + "3" * 28)


def test_beginning_of_an_id_is_enough_to_mend(three: Shell) -> None:
    """The short ids of a table can be used in commands."""
    assert three("resume", IDS[1][:5], "--yes")[0] == 0
    assert three.now(IDS[1]) == ("RUNNING", 2)


def test_mending_for_programs(three: Shell) -> None:
    """With --json, offers and results are lines, and no question is asked."""
    code, _, err = three("regenerate", IDS[1], "--json")
    assert (code, "no question is asked" in err) == (1, True)
    assert three.now(IDS[1]) == ("FAILED", 1)
    _, out, _ = three("regenerate", IDS[1], "--json", "--yes")
    offer, done = map(json.loads, out.splitlines())
    assert (offer["credits"], offer["refusal"], done["job"]["attempt"]) == (1, None, 2)


# --- watch ---------------------------------------------------------------------------------------


def test_watch_once(three: Shell) -> None:
    """`watch` shows running jobs, recent ends, and why submission is paused."""
    pause = {"until": later(utc_now(), 60), "reason": "the key was refused"}
    three.aws.dynamodb.put_item(
        TableName=TABLE,
        Item={"pk": {"S": "CONTROL#submit"}, **{key: {"S": text} for key, text in pause.items()}},
    )
    code, out, _ = three("watch", "--once")
    assert code == 0
    first, second, *rows = out.splitlines()
    assert first == "1 running · 1 failed · 1 done"
    assert second.startswith("Submission is paused until ")
    assert second.endswith(": the key was refused.")
    assert [row.split()[:2] for row in rows[1:2]] == [["c/x.jpg", "Running"]]


def test_watch_until_done(three: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe, each change is a line; with --until-done `watch` ends with the last job."""
    ends = iter([JobStatus.SUCCEEDED, JobStatus.FAILED])

    def pass_time(_: float) -> None:
        if (job := three.jobs.get(IDS[2])) and not job.terminal:
            three.job(IDS[2], next(ends), source_key="c/x.jpg", updated_at=iso(utc_now()))

    monkeypatch.setattr(time, "sleep", pass_time)
    code, out, _ = three("watch", "--until-done")
    assert code == 0
    assert [line.split()[1:3] for line in out.splitlines()] == [
        ["Running", "c/x.jpg"],
        ["Done", "c/x.jpg"],
    ]
    three.job(IDS[2], JobStatus.RUNNING, source_key="c/x.jpg")
    code, out, _ = three("watch", "--until-done", "--json")
    assert code == 1
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["RUNNING", "FAILED"]


def test_watch_is_stopped(three: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends `watch` without output."""

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    code, _, err = three("watch")
    assert (code, err) == (130, "")


def test_job_that_moves_on_is_not_met_twice(three: Shell) -> None:
    """A job that ended and was resumed is shown once, as running."""
    watcher = Watcher(three.aws.dynamodb, TABLE)
    watcher.refresh()
    three.job(IDS[1], JobStatus.RUNNING, attempt=2, updated_at=later(utc_now(), 1))
    watcher.refresh()
    assert [job.job_id for job in watcher.rows(None)].count(IDS[1]) == 1
    assert (watcher.counts[JobStatus.RUNNING], watcher.counts[JobStatus.FAILED]) == (2, 0)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_watch_fits_the_screen(shell: Shell, width: int) -> None:
    """The display of a hundred jobs fits into the terminal."""
    for number in range(30):
        status = JobStatus.RUNNING if number % 2 else JobStatus.FAILED
        shell.job(f"{number:032x}", status, source_key=f"夏天/{'裙' * number}\x1b[2J.jpg")
    watcher = Watcher(shell.aws.dynamodb, TABLE)
    watcher.refresh()
    shown = io.StringIO()
    console = Console(file=shown, width=width, height=12, force_terminal=True, no_color=True)
    console.print(Screen(watcher))
    lines = shown.getvalue().splitlines()
    assert len(lines) < 12
    assert "\x1b[2J" not in shown.getvalue()
    assert all(Text.from_ansi(line).cell_len <= width for line in lines)


# --- credits -------------------------------------------------------------------------------------


def test_credits_against_the_limit(shell: Shell) -> None:
    """`credits` shows today's use of DailyCreditLimit, explains unknown ones, and has --json."""
    shell.stacks.parameters["DailyCreditLimit"] = "10"
    shell.ledger.enter(shell.job("j", status=JobStatus.RUNNING, submitted_at=NOW))
    shell.ledger.doubt(shell.job("k", JobStatus.SUBMIT_UNKNOWN))
    code, out, err = shell("credits")
    assert code == 0
    assert out.splitlines()[-1].startswith("Today 1 of 10 credits (DailyCreditLimit); 8 left")
    assert err.startswith("unknown: submits whose answer was lost")
    *_, last = map(json.loads, shell("credits", "--json")[1].splitlines())
    assert {name: last[name] for name in ("credits", "unknown", "today", "dailyLimit")} == {
        "credits": 1,
        "unknown": 1,
        "today": 1,
        "dailyLimit": 10,
    }


# --- tables --------------------------------------------------------------------------------------

COLUMNS = (Column("job", 1), Column("photo", 0, 12, 24), Column("status"), Column("sku", 2, 8))


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.text(max_size=60)] * 4), max_size=5), st.integers(1, 120))
def test_table_is_never_wider_than_the_terminal(rows: Sequence[Any], width: int) -> None:
    """With names in any script, no line of a table is too long."""
    for line in laid_out(COLUMNS, rows, width):
        assert line.cell_len <= width
        assert "\n" not in line.plain


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("summer/dress.jpg", 16, "summer/dress.jpg"),
        ("summer/dress.jpg", 9, "summ….jpg"),
        ("夏天夏天夏天.jpg", 9, "夏天….jpg"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
    ],
)
def test_both_ends_of_a_name_stay(text: str, width: int, expected: str) -> None:
    """A long key is shortened in the middle."""
    assert elided(text, width) == expected
