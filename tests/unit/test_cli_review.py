"""`catwalk review`: its decisions and its output."""

import json
from typing import Any

import pytest

from cli.jobs import review as reviews
from shared.models import JobStatus, Result, Review, ReviewState
from tests.cli_runner import NOW, Shell

ANNA = Review(state=ReviewState.APPROVED, chosen=(1,), by="anna", at=NOW, revision=1)


def results(count: int) -> tuple[Result, ...]:
    """Return this many results."""
    return tuple(
        Result(
            index=index,
            bucket="results",
            key=f"a/{index}.jpg",
            width=8,
            height=8,
            bytes=10,
            sha256="0",
            content_type="image/jpeg",
        )
        for index in range(1, count + 1)
    )


@pytest.fixture
def desk(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Make two jobs to review, an approved one and a failed one in a folder."""
    monkeypatch.setattr(reviews, "_person_on_aws", lambda: "berta")
    put(shell, "one", source_key="summer/one.jpg")
    put(shell, "two", source_key="summer/two.jpg", results=results(2), sku="S-2")
    put(shell, "old", source_key="summer/old.jpg", review=ANNA)
    shell.job("bad", JobStatus.FAILED, source_key="summer/bad.jpg")
    return shell


def put(shell: Shell, job_id: str, **changes: Any) -> None:
    """Write a job with four images."""
    shell.job(job_id, JobStatus.SUCCEEDED, **({"results": results(4)} | changes))


def marks(shell: Shell, job_id: str) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """Return the review of a job."""
    job = shell.jobs.get(job_id)
    assert job is not None
    if job.review is None:
        return None
    return job.review.state.value, job.review.chosen, job.review.refused


@pytest.mark.parametrize(
    ("words", "before", "after", "said"),
    [
        (["--approve"], None, ("approved", (), ()), "Approved"),
        (["--refuse"], ANNA, ("refused", (1,), ()), "Refused; 1 chosen"),
        (["--choose", "3,1"], None, ("to_review", (1, 3), ()), "To review; 1 and 3 chosen"),
        (
            ["--approve", "--choose", "1 2,4", "--refuse-images", "3"],
            None,
            ("approved", (1, 2, 4), (3,)),
            "Approved; 1, 2 and 4 chosen, 3 refused",
        ),
        (["--refuse-images", "1"], ANNA, ("approved", (), (1,)), "Approved; 1 refused"),
        (["--choose", "2"], ANNA, ("approved", (2,), ()), "Approved; 2 chosen"),
        (["--reopen"], ANNA, ("to_review", (), ()), "To review"),
    ],
)
def test_decisions(
    desk: Shell, words: list[str], before: Review | None, after: object, said: str
) -> None:
    """Each option changes its part of the review and keeps the rest."""
    put(desk, "j", review=before)
    assert desk("review", "j", *words) == (0, f"a/dress.jpg, Clara, own background: {said}.\n", "")
    assert marks(desk, "j") == after
    job = desk.jobs.get("j")
    assert job is not None
    assert job.review is not None
    assert job.review.by == "berta"


def test_folder_means_what_is_to_be_reviewed(desk: Shell) -> None:
    """--folder selects only jobs to review, unless --review is given."""
    code, out, _ = desk("review", "--folder", "summer", "--approve")
    assert (code, "2 of 2 jobs reviewed." in out) == (0, True)
    assert [marks(desk, job) for job in ("one", "old", "bad")] == [
        ("approved", (), ()),
        ("approved", (1,), ()),
        None,
    ]
    code, _, err = desk("review", "--folder", "summer", "--approve")
    assert (code, err.splitlines()[0]) == (1, "No job there is still to be reviewed.")
    code, out, _ = desk("review", "--sku", "S-2", "--review", "approved", "--reopen")
    assert (code, out) == (0, "summer/two.jpg, Clara, own background: To review.\n")


def test_photo_key_names_its_jobs(desk: Shell) -> None:
    """A photo's key stands for the photo's jobs."""
    assert desk("review", "summer/one.jpg", "--refuse")[0] == 0
    assert marks(desk, "one") == ("refused", (), ())


def test_what_does_not_fit_is_said_per_job(desk: Shell) -> None:
    """A job without that image is left as it is, and the others are reviewed."""
    code, out, _ = desk("review", "one", "two", "bad", "--approve", "--choose", "3")
    assert code == 1
    failed = "It is failed and has no images to review."
    assert out.splitlines() == [
        "summer/one.jpg, Clara, own background: Approved; 3 chosen.",
        "summer/two.jpg, Clara, own background: not reviewed. It has no image 3; it has 1, 2.",
        f"summer/bad.jpg, Clara, own background: not reviewed. {failed}",
        "1 of 3 jobs reviewed.",
    ]
    assert marks(desk, "two") is None


def test_conflict(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A review that somebody else made meanwhile stays, and the output says so."""
    write = desk.jobs.review

    def first_another(_: object, job: Any, review: Review) -> object:
        write(job, ANNA)
        return write(job, review)

    monkeypatch.setattr("shared.records.jobs.JobRepository.review", first_another)
    monkeypatch.setattr(desk.jobs, "review", write, raising=False)
    code, out, _ = desk("review", "one", "--refuse")
    assert (code, "not reviewed. anna approved it in the meantime" in out) == (1, True)
    assert marks(desk, "one") == ("approved", (1,), ())
    code, out, _ = desk("review", "two", "--refuse", "--json")
    line = json.loads(out)
    assert (code, line["event"], line["jobId"]) == (1, "not reviewed", "two")


def test_many_are_asked_for(desk: Shell) -> None:
    """For more than ten jobs the command asks; with --json it needs --yes."""
    for number in range(11):
        put(desk, f"m{number}", source_key=f"many/{number}.jpg")
    code, out, err = desk("review", "--folder", "many", "--approve", says="n\n")
    assert (code, "Review 11 jobs?" in out, "Nothing was done." in err) == (1, True, True)
    code, _, err = desk("review", "--folder", "many", "--approve", "--json")
    assert (code, "--yes" in err) == (1, True)
    assert marks(desk, "m0") is None
    code, out, _ = desk("review", "--folder", "many", "--approve", "--json", "--yes")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, len(lines)) == (0, 11)
    assert {line["job"]["review"]["state"] for line in lines} == {"approved"}


def test_dry_run(desk: Shell) -> None:
    """A dry run shows what would be decided, and changes nothing."""
    before = desk.state()
    words = ("review", "one", "two", "old", "--choose", "3", "--dry-run")
    code, out, _ = desk(*words)
    assert (code, len(out.splitlines())) == (0, 4)
    assert "It has no image 3; it has 1, 2." in out
    assert "Approved; 3 chosen" in out
    lines = [json.loads(line) for line in desk(*words, "--json")[1].splitlines()]
    assert [line["event"] for line in lines] == ["would review", "not reviewed", "would review"]
    assert lines[2] == {
        "event": "would review",
        "jobId": "old",
        "state": "approved",
        "chosen": [3],
        "refused": [],
    }
    assert desk.state() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["one"], "No decision is given."),
        (["--approve"], "No jobs are named."),
        (["one", "--approve", "--refuse"], "The options contradict each other."),
        (["one", "--reopen", "--choose", "1"], "--reopen takes all marks away"),
        (["one", "--choose", "1", "--refuse-images", "1,2"], "Image 1 is in --choose and in"),
        (["one", "--choose", "5"], "--choose '5' names no images."),
        (["one", "--choose", ""], "--choose '' names no images."),
        (["one", "--refuse-images", "a"], "--refuse-images 'a' names no images."),
        (["nobody", "--approve"], "There is no job, no photo and no request 'nobody'."),
        (["one", "nobody", "--approve"], "There is no job, no photo and no request 'nobody'."),
        (["--folder", "", "--approve"], "--folder is empty."),
        (["one", "--approve", "--review", "aproved"], "--review 'aproved' is not a review."),
    ],
)
def test_wrong_words(desk: Shell, words: list[str], says: str) -> None:
    """Invalid options are refused before anything is changed."""
    before = desk.state()
    code, _, err = desk("review", *words)
    status = 2 if "is not a review" in says else 1
    assert (code, err.startswith(says), len(err.splitlines())) == (status, True, 2)
    assert desk.state() == before


def test_jobs_by_review(desk: Shell) -> None:
    """`catwalk jobs --review` lists the jobs with that review, `show` prints it."""
    words = ("jobs", "--json", "--review")
    listed = [
        {json.loads(line)["jobId"] for line in desk(*words, name)[1].splitlines()}
        for name in ("to-review", "Approved", "refused")
    ]
    assert listed == [{"one", "two"}, {"old"}, set()]
    assert f"Approved; 1 chosen, by anna at {NOW}" in desk("show", "old")[1]
    assert "review     To review" in desk("show", "one")[1]
    assert "review" not in desk("show", "bad")[1]
