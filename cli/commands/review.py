"""`catwalk review`: choose among the images of jobs, and approve or refuse the jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from cli.errors import CommandError
from cli.jobs.browse import Filter
from cli.jobs.find import jobs_meant
from cli.jobs.review import Decision, Reviewer, changed_since
from cli.stacks.stack import Catwalk
from cli.terminal.options import (
    DryRun,
    Folder,
    JobNames,
    Json,
    ReviewFilter,
    Sku,
    StackName,
    Statuses,
    Yes,
    ask,
    refuse_empty,
)
from cli.terminal.output import (
    SHORT_ID,
    Cell,
    Column,
    console,
    counted,
    record,
    say,
    say_json,
    show_table,
)
from cli.terminal.words import look_of, marks_words, review_words
from cli.upload.parsing import image_numbers
from shared.models import Job, Review, ReviewState

commands = typer.Typer()
_ASKED_FROM: Final = 10
"""Above this number of jobs the command asks for confirmation."""


@dataclass(frozen=True)
class _Wish:
    """What the person decided, for every selected job."""

    state: ReviewState | None
    """None keeps each job's own."""
    chosen: tuple[int, ...] | None
    """None keeps each job's own."""
    refused: tuple[int, ...] | None

    def about(self, job: Job) -> Decision:
        """Return the decision about a job.

        Raises:
            ValueError: it does not fit the job's images; the message is a sentence.

        """
        old = job.review or Review(by="", at="", revision=0)
        chosen, refused = old.chosen, old.refused
        # A new mark takes away the opposite one that an image had.
        if self.chosen is not None:
            chosen = self.chosen
            refused = tuple(index for index in refused if index not in chosen)
        if self.refused is not None:
            refused = self.refused
            if self.chosen is None:
                chosen = tuple(index for index in chosen if index not in refused)
        state = old.state if self.state is None else self.state
        return Decision.about(job, state, chosen=chosen, refused=refused)


@commands.command(rich_help_panel="Images")
def review(
    jobs: JobNames = None,
    *,
    approve: Annotated[
        bool, typer.Option("--approve", help="The jobs are approved as a whole.")
    ] = False,
    refuse: Annotated[
        bool, typer.Option("--refuse", help="The jobs are refused as a whole.")
    ] = False,
    reopen: Annotated[
        bool, typer.Option("--reopen", help="The jobs are to be reviewed anew, without marks.")
    ] = False,
    choose: Annotated[
        str | None, typer.Option(help="The images that are wanted, by number: 1,3.")
    ] = None,
    refuse_images: Annotated[
        str | None, typer.Option(help="The images that are not wanted, by number: 2.")
    ] = None,
    state: ReviewFilter = None,
    statuses: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Choose among images, and approve or refuse jobs.

    --folder and --sku select the jobs that are still to be reviewed; --review selects others. A
    job that somebody else has reviewed meanwhile is left as it is, and the exit status is 1.

    With --json, each job is one line: `reviewed`, `would review` or `not reviewed`.
    """
    refuse_empty(folder=folder, sku=sku)
    wish = _wish(
        approve=approve, refuse=refuse, reopen=reopen, choose=choose, refuse_images=refuse_images
    )
    if not (jobs or folder is not None or sku is not None):
        raise CommandError(
            "No jobs are named.", "Give job ids (`catwalk jobs` lists them), --folder or --sku."
        )
    if not jobs and state is None:
        state = ReviewState.TO_REVIEW
    which = Filter(statuses=frozenset(statuses or ()), folder=folder, sku=sku, review=state)
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    found = list(jobs_meant(catwalk, jobs or (), which))
    if not found:
        nothing = "No job matches."
        if not jobs and state is ReviewState.TO_REVIEW:
            nothing = "No job there is still to be reviewed."
        raise CommandError(
            nothing, "--review approved or --review refused selects jobs with a review."
        )
    if dry_run:
        _show(found, wish, as_json=as_json)
        return
    if len(found) > _ASKED_FROM:
        ask(f"Review {counted(len(found), 'job')}?", yes=yes, as_json=as_json)
    reviewer = Reviewer.of(catwalk)
    done = [_review(job, wish, reviewer, catwalk, as_json=as_json) for job in found]
    if not as_json and len(done) > 1:
        say(f"{done.count(True)} of {counted(len(done), 'job')} reviewed.")
    raise SystemExit(0 if all(done) else 1)


def _wish(
    *, approve: bool, refuse: bool, reopen: bool, choose: str | None, refuse_images: str | None
) -> _Wish:
    """Return what the options say.

    Raises:
        CommandError: they contradict each other, or say nothing.

    """
    states = {
        ReviewState.APPROVED: approve,
        ReviewState.REFUSED: refuse,
        ReviewState.TO_REVIEW: reopen,
    }
    given = [state for state, said in states.items() if said]
    chosen = image_numbers(choose, "--choose") if choose is not None else None
    refused = image_numbers(refuse_images, "--refuse-images") if refuse_images is not None else None
    if len(given) > 1:
        raise CommandError(
            "The options contradict each other.", "Give one of --approve, --refuse and --reopen."
        )
    if reopen and (chosen is not None or refused is not None):
        raise CommandError(
            "--reopen takes all marks away, so it cannot set any.",
            "Run --reopen first; then choose.",
        )
    if not given and chosen is None and refused is None:
        raise CommandError(
            "No decision is given.",
            "Give --approve or --refuse for the jobs, or --choose 1,3 or --refuse-images 2 for"
            " images.",
        )
    both = sorted({*(chosen or ())} & {*(refused or ())})
    if both:
        raise CommandError(
            f"Image {both[0]} is in --choose and in --refuse-images.", "Leave it out of one."
        )
    if reopen:
        chosen = refused = ()
    return _Wish(given[0] if given else None, chosen, refused)


def _review(job: Job, wish: _Wish, reviewer: Reviewer, catwalk: Catwalk, *, as_json: bool) -> bool:
    """Review a job and report it; return whether that was done."""
    try:
        decision = wish.about(job)
    except ValueError as error:
        return _refused(job, str(error), as_json=as_json)
    now = reviewer.review(job, decision)
    if now is None:
        sentence = changed_since(job, catwalk.jobs.get(job.job_id))
        return _refused(job, sentence, as_json=as_json)
    if as_json:
        say_json({"event": "reviewed", "jobId": job.job_id, "job": record(now)})
    else:
        say(f"{_named(now)}: {review_words(now.review)}.")
    return True


def _refused(job: Job, sentence: str, *, as_json: bool) -> bool:
    if as_json:
        say_json({"event": "not reviewed", "jobId": job.job_id, "error": sentence})
    else:
        say(f"{_named(job)}: not reviewed. {sentence}")
    return False


def _show(jobs: Sequence[Job], wish: _Wish, *, as_json: bool) -> None:
    """Show what would be decided."""
    rows: list[tuple[Cell, ...]] = []
    for job in jobs:
        try:
            decision = wish.about(job)
        except ValueError as error:
            if as_json:
                _refused(job, str(error), as_json=True)
            would_be = str(error)
        else:
            marks = {"chosen": decision.chosen, "refused": decision.refused}
            if as_json:
                event = {"event": "would review", "jobId": job.job_id}
                say_json({**event, "state": decision.state, **marks})
            would_be = marks_words(decision.state, decision.chosen, decision.refused)
        rows.append(
            (
                job.job_id[:SHORT_ID] if console().is_terminal else job.job_id,
                job.source_key or "-",
                look_of(job),
                review_words(job.review),
                would_be,
            )
        )
    if not as_json:
        columns = (
            Column("job", 2),
            Column("photo", 0, 12, 24),
            Column("look", 3, 8),
            Column("now", 1),
            Column("would be", 0, 12),
        )
        show_table(columns, rows)


def _named(job: Job) -> str:
    return ", ".join(filter(None, (job.source_key or job.job_id, look_of(job))))
