"""`catwalk listen`: prints the events of the stack's bus."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.text import Text

from cli.jobs.watch import note_of
from cli.stacks.listening import Listener
from cli.stacks.stack import Catwalk
from cli.terminal.options import Json, StackName
from cli.terminal.output import say, say_json, shown, tell
from cli.terminal.words import look_of, review_words
from shared import clients
from shared.intake.messages import REQUEST_DETAIL_TYPE
from shared.models import Job
from shared.notify.events import SOURCE, DetailType

commands = typer.Typer()
_INTERRUPTED: Final = 130


@commands.command(rich_help_panel="Jobs")
def listen(
    *,
    limit: Annotated[
        int | None, typer.Option(help="End after so many events.", min=1, show_default=False)
    ] = None,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Print each event of the stack's bus, as it comes; Ctrl-C ends it.

    It makes a rule and a queue with your own rights, and removes both at its end. With --json,
    each line is an event as EventBridge delivers it.
    """
    catwalk = Catwalk.chosen(stack)
    bus = catwalk.outputs["EventBusName"]
    try:
        with Listener(clients.events(), clients.sqs(), bus) as listener:
            tell(
                f"Listening to {bus}. On AWS the first events may take up to a minute; Ctrl-C ends"
                " it."
            )
            for event in islice(listener.events(), limit):
                if as_json:
                    say_json(event)
                else:
                    say(line_of(event))
    except KeyboardInterrupt:
        tell("Stopped; the rule and the queue are removed.")
        raise SystemExit(_INTERRUPTED) from None


def line_of(event: Mapping[str, Any]) -> Text:
    """Return an event as a line: time, what happened, photo, and what came of it."""
    detail = event.get("detail")
    document = detail if isinstance(detail, dict) else {}
    kind = str(event.get("detail-type", ""))
    words = Text.assemble(
        Text(f"{str(event.get('time', ''))[11:19]} UTC  ", style="dim"), Text(kind, style="bold")
    )
    for part in _parts(event, kind, document):
        if part:
            words.append(f"  {shown(part).plain}")
    return words


def _parts(event: Mapping[str, Any], kind: str, document: Mapping[str, Any]) -> list[str]:
    if event.get("source") == SOURCE:
        try:
            job = Job.model_validate({"createdAt": "", "updatedAt": "", **document})
        except ValidationError:  # anybody with the right may send an event with this source
            return [str(event.get("source"))]
        note = review_words(job.review) if kind == DetailType.REVIEWED else note_of(job)
        paused = document.get("paused")
        reason = str(paused.get("reason", "")) if isinstance(paused, dict) else ""
        told = job.error if kind in {DetailType.FAILED, DetailType.REJECTED} else None
        trouble = told.message if told and told.message not in note else ""
        request = f"request {job.request_id}" if job.request_id else ""
        name = job.source_key or job.job_id
        return [name, look_of(job), request, reason or note, trouble]
    photo = document.get("photo") if kind == REQUEST_DETAIL_TYPE else None
    named = photo.get("key") or photo.get("url") if isinstance(photo, dict) else None
    asked = document.get("requestId") if kind == REQUEST_DETAIL_TYPE else None
    request = f"request {asked}" if isinstance(asked, str) else ""
    # The query of an address may hold a signature.
    return [str(named or "").partition("?")[0], request, f"from {event.get('source')}"]
