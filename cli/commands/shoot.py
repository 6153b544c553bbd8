"""`catwalk shoot`: new jobs of photos that have one, with other settings."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from cli.errors import CommandError
from cli.jobs.browse import Filter
from cli.jobs.find import jobs_meant
from cli.jobs.shoot import Shooter, Shot, new_nonce, once_each
from cli.stacks.stack import Catwalk
from cli.terminal.options import (
    DryRun,
    Folder,
    JobNames,
    Json,
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
    credits_of,
    say,
    say_json,
    show_table,
)
from cli.terminal.words import STATUS_WORDS, look_of, settings_words
from cli.upload import parsing
from shared.models import REVIEWABLE, Settings

commands = typer.Typer()
_MOST_SHOWN: Final = 20
"""A terminal shows this many photos; the summary counts all."""


@commands.command("shoot", rich_help_panel="Photos")
def shoot(
    jobs: JobNames = None,
    *,
    model: Annotated[
        str | None, typer.Option(help="antonia, clara, jamila, mia, lavanya, or a model id: 002.")
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            help="The background: original (the photo's own), none (cut out), preset:035 (a scene)"
            " or color:#f4e9dd."
        ),
    ] = None,
    color: Annotated[str | None, typer.Option(help="A background of this colour: #f4e9dd.")] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Images per photo; the price stays the same.", min=1, max=4),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Also photos that have a job with these settings: make other images."
        ),
    ] = False,
    statuses: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Shoot photos again with another model or background. One credit per photo.

    Each is a new job; the old job and its images stay. The new job keeps the settings that you do
    not give. --folder and --sku choose the jobs that have images; --status chooses others.
    """
    refuse_empty(folder=folder, sku=sku)
    values = _values(model, scene, color, images)
    if not values and not again:
        raise CommandError(
            "No new settings are given.",
            "Give --model, --scene, --color or --images. --again makes other images with the same"
            " settings.",
        )
    if not (jobs or folder is not None or sku is not None or statuses):
        raise CommandError(
            "No jobs are named.",
            "Give job ids (`catwalk jobs` lists them), --folder, --sku or --status.",
        )
    if not jobs and not statuses:
        statuses = sorted(REVIEWABLE)
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    which = Filter(statuses=frozenset(statuses or ()), folder=folder, sku=sku)
    found = list(jobs_meant(catwalk, jobs or (), which))
    if not found:
        raise CommandError(
            "No job matches.", "Check the status, folder and SKU with `catwalk jobs`."
        )
    shooter = Shooter.of(catwalk)
    shots = once_each(shooter.quote_all(found, values))
    good = [shot for shot in shots if _refusal(shot, again=again) is None]
    _offer(shots, good, again=again, as_json=as_json)
    if dry_run:
        return
    if good:
        cost = sum(shot.credits for shot in good)
        ask(f"Go on, and spend up to {credits_of(cost)}?", yes=yes, as_json=as_json)
        _shoot(shooter, good, again=again, as_json=as_json)
    # A refusal is a failure only for jobs that were named.
    if not good or (jobs and len(good) < len(shots)):
        raise SystemExit(1)


def _values(
    model: str | None, scene: str | None, color: str | None, images: int | None
) -> dict[str, Any]:
    """Return the new settings under the vendor's names."""
    if color is not None:
        if scene is not None and scene.casefold() != "color":
            raise CommandError(
                f"--scene {scene!r} and --color contradict each other.", "Leave one of them out."
            )
        scene = f"color:{color}"
    values: dict[str, Any] = {}
    if model is not None:
        values["modelId"] = parsing.model_id(model)
    if scene is not None:
        values |= parsing.scene_values(scene)
    if images is not None:
        values["batchSize"] = images
    return values


def _refusal(shot: Shot, *, again: bool) -> str | None:
    """Return why a photo is not shot, as a sentence."""
    if shot.refusal is not None:
        return shot.refusal
    if shot.already is not None and not again:
        status = STATUS_WORDS[shot.already.status]
        other = shot.already.job_id[:SHORT_ID]
        return f"It has a job with these settings: {other}, {status}. --again makes other images."
    return None


def _offer(shots: Sequence[Shot], good: Sequence[Shot], *, again: bool, as_json: bool) -> None:
    """Show what would be shot and what it costs."""
    if as_json:
        for shot in shots:
            refusal = _refusal(shot, again=again)
            say_json(
                {
                    "event": "offer",
                    "jobId": shot.job.job_id,
                    "sourceKey": shot.job.source_key,
                    "settings": _document(shot.settings) if shot.settings else None,
                    "credits": 0 if refusal else shot.credits,
                    "refusal": refusal,
                    "already": shot.already.job_id if shot.already else None,
                }
            )
        return
    terminal = console().is_terminal
    most = _MOST_SHOWN if terminal else len(shots)
    rows: list[tuple[Cell, ...]] = [
        (
            shot.job.job_id[:SHORT_ID] if terminal else shot.job.job_id,
            shot.job.source_key or "-",
            look_of(shot.job) or "-",
            settings_words(shot.settings) if shot.settings else "-",
            _refusal(shot, again=again) or credits_of(shot.credits),
        )
        for shot in shots[:most]
    ]
    columns = (
        Column("job", 3),
        Column("photo", 0, 12, 24),
        Column("is", 2, 8),
        Column("will be", 1, 12),
        Column("price", 0, 12),
    )
    show_table(columns, rows)
    if len(shots) > most:
        say(f"… and {len(shots) - most} more.")
    say(
        f"{len(good)} of {counted(len(shots), 'photo')} can be shot, for up to"
        f" {credits_of(sum(shot.credits for shot in good))}."
    )
    # A terminal's table may have shortened the reasons.
    reasons = Counter(reason for shot in shots if (reason := _refusal(shot, again=again)))
    if terminal:
        for reason, count in reasons.most_common():
            say(f"{count} cannot: {reason}")


def _document(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", by_alias=True, exclude_none=True)


def _shoot(shooter: Shooter, shots: Sequence[Shot], *, again: bool, as_json: bool) -> None:
    """Send the shots."""
    for shot in shots:
        # Without --again, a command that is run twice sends the same requests: the first run may
        # have been stopped, or its jobs may have no records yet.
        nonce = new_nonce() if again else shooter.nonce_of(shot)
        request_id = shooter.shoot(shot, nonce=nonce)
        if as_json:
            say_json({"event": "shot", "jobId": shot.job.job_id, "requestId": request_id})
    if not as_json:
        say(
            f"{counted(len(shots), 'new job')} on the way. `catwalk watch` shows how they get on;"
            " the old jobs and their images stay."
        )
