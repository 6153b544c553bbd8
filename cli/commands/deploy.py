"""Commands for a stack on AWS: deploy it, set its key, check it."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Final

import typer

from cli.errors import CommandError
from cli.stacks import deployment, key, selection
from cli.stacks.deployment import Parameter, Present, Sam
from cli.stacks.doctor import Finding, Verdict, examine, span
from cli.stacks.project import enter
from cli.stacks.stack import Catwalk
from cli.stacks.submission import OTHERS_FOLLOW, end_pause, pause_of, try_one
from cli.terminal.options import StackName, Yes
from cli.terminal.output import as_json as written
from cli.terminal.output import console, say, shown, tell
from shared import clients
from shared.clock import utc_now
from shared.config import SETTLING_SECONDS

commands = typer.Typer()
_PANEL: Final = "AWS"
_NEW_BUCKET: Final = (
    f"The first photos wait for about {SETTLING_SECONDS // 60} minutes. For a quarter of an hour"
    " after a bucket is made, S3 may answer that a photo or a catwalk.json is missing although it"
    " is there; Catwalk decides nothing until then, and spends nothing on wrong settings. S3 may"
    " send events only some 5 minutes after the bucket is made: if a photo has no record by then,"
    " `catwalk reconcile` finds it."
)
_MARKS: Final = {Verdict.OK: "✓", Verdict.LOOK: "!", Verdict.BAD: "✗"}
_STYLES: Final = {Verdict.OK: "green", Verdict.LOOK: "yellow", Verdict.BAD: "red"}


# --- deploy ---------------------------------------------------------------------------------------


@commands.command(rich_help_panel=_PANEL)
def deploy(
    *,
    stack: Annotated[
        str | None, typer.Option(help="The stack's name on AWS.", show_default=False)
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="The AWS region: eu-central-1.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="The default model of photos: 002.")] = None,
    scene: Annotated[
        str | None, typer.Option(help="The default background: original, none or preset:035.")
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option(help="Images per photo, 1 to 4; the price stays the same.")
    ] = None,
    credit_limit: Annotated[
        str | None,
        typer.Option(help="Credits per day (UTC); further photos wait. 0 means no limit."),
    ] = None,
    alarm_email: Annotated[
        str | None, typer.Option(help="E-mail address for alarms; empty means none.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any other template parameter; may be repeated."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Deploy Catwalk to your AWS account, or update a stack there. Asks first."""
    project = enter()
    template = (project.path / "template.yaml").read_text("utf-8")
    known = deployment.template_parameters(template)
    ask = _Asker(yes=yes)

    last = selection.read_last()
    was = last.name if last is not None and last.name != selection.LAPTOP else selection.CATWALK
    if os.environ.get(selection.VARIABLE, selection.LAPTOP) != selection.LAPTOP:
        was = os.environ[selection.VARIABLE]
    name = ask("Name of the stack", "--stack", stack, was, deployment.stack_name)
    if name == selection.LAPTOP:
        raise CommandError("`laptop` is the stack on this machine.", "Start it: `catwalk up`.")
    if last is not None and last.name == name and selection.endpoint() is None:
        selection.follow(last)
    in_region = ask("AWS region", "--region", region, selection.region(), deployment.region_name)
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = in_region
    account, arn = deployment.caller()
    present = deployment.present(name)
    values = _values(
        ask,
        {name: p.default or "" for name, p in known.items()} | dict(_of(present)),
        model=model,
        scene=scene,
        batch_size=batch_size,
        credit_limit=credit_limit,
        alarm_email=alarm_email if "AlarmEmail" in known else None,
        has_email="AlarmEmail" in known,
    )
    values |= _others(parameter or (), known)
    if alarm_email is not None and "AlarmEmail" not in known:
        raise CommandError("This template has no alarms.", "Leave --alarm-email out.")

    say("")
    if present is None:
        say(f"New: the stack {name!r} in {in_region}, account {account}, as {arn}.")
        say(f"It makes {deployment.resources(template)}, and a bucket for what SAM uploads.")
        say("What it costs is said in docs/cost.md: most of it is nothing while no photo comes.")
    else:
        say(f"The stack {name!r} in {in_region}, account {account}, is {present.status}; as {arn}.")
        changes = _changes(present, values)
        say(f"It gets this version's template and functions; {changes}.")
    _confirm("Deploy it?", yes=yes)

    sam = Sam(project.path)
    sam.build(dict(_of(present)) | values)
    sam.deploy(name, in_region, values)
    choice = selection.Choice(name, laptop=False, chosen_by=selection.ChosenBy.OPTION)
    selection.remember(choice)
    found = Catwalk.find(choice)
    has_key = _has_key(found)
    if not has_key and ask.there:
        say("")
        say("The stack has no API key of the vendor's yet; photos wait until then.")
        given = typer.prompt(
            "API key (nothing is shown; Enter for later)",
            hide_input=True,
            default="",
            show_default=False,
        )
        if given.strip():
            _put(found, given)
            has_key = True
    _next_steps(found, values, has_key=has_key)
    if present is None and selection.endpoint() is None:
        say("")
        say(_NEW_BUCKET)


class _Asker:
    """Asks for values that were not given as options; without a terminal, defaults need --yes."""

    def __init__(self, *, yes: bool) -> None:
        self.there = sys.stdin.isatty() and not yes
        """Whether a person can answer."""
        self._yes = yes

    def __call__(
        self,
        question: str,
        option: str,
        said: str | None,
        default: str | None,
        check: Callable[[str], str],
    ) -> str:
        """Return an answer that passes its check; for an invalid option, raise its error."""
        if said is not None:
            return check(said.strip())
        if not self.there:
            if default is None or not self._yes:
                raise CommandError(
                    f"{question}: nobody is here to answer.",
                    f"Say {option}" + ("." if default is None else ", or --yes for the defaults."),
                )
            return check(default)
        while True:
            answer = typer.prompt(question, default=default, show_default=bool(default))
            try:
                return check(str(answer).strip())
            except CommandError as error:
                tell(f"{error} {error.next_step}")


def _values(
    ask: _Asker,
    now: Mapping[str, str],
    *,
    model: str | None,
    scene: str | None,
    batch_size: str | None,
    credit_limit: str | None,
    alarm_email: str | None,
    has_email: bool,
) -> dict[str, str]:
    """Ask for the most important parameters; `now` has the present values or the defaults."""
    values = {
        "DefaultModelId": ask(
            "Model (001 Antonia, 002 Clara, 003 Jamila, 004 Mia, 044 Lavanya)",
            "--model",
            model,
            now["DefaultModelId"],
            deployment.model_id,
        )
    }
    background = ask(
        "Background (original, none, preset:035)",
        "--scene",
        scene,
        deployment.scene_text(now),
        lambda text: text if text == deployment.scene_text(now) else ":".join(_scene(text)),
    )
    if background != deployment.scene_text(now):
        kind, _, scene_id = background.partition(":")
        values |= {"DefaultSceneType": kind, "DefaultSceneId": scene_id}
    values["DefaultBatchSize"] = ask(
        "Images a photo (1 to 4, the price is the same)",
        "--batch-size",
        batch_size,
        now["DefaultBatchSize"],
        lambda text: deployment.whole_number(text, 1, 4, "number of images"),
    )
    values["DailyCreditLimit"] = ask(
        "Credits that may be spent on a day (UTC); photos over it wait for the next day."
        " A task is a credit. 0 is no limit",
        "--credit-limit",
        credit_limit,
        now["DailyCreditLimit"],
        lambda text: deployment.whole_number(text, 0, None, "number of credits"),
    )
    if has_email:
        values["AlarmEmail"] = ask(
            "E-mail address for alarms (Enter for none)"
            if not now["AlarmEmail"]
            else "E-mail address for alarms",
            "--alarm-email",
            alarm_email,
            now["AlarmEmail"],
            deployment.email,
        )
    return values


def _scene(text: str) -> tuple[str, ...]:
    return tuple(filter(None, deployment.scene(text)))


def _others(given: list[str] | tuple[str, ...], known: Mapping[str, Parameter]) -> dict[str, str]:
    values = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise CommandError(
                f"{pair!r} is no parameter of the template.",
                "Write NAME=VALUE; docs/operate.md lists the names.",
            )
        values[name] = deployment.parameter_value(known[name], value)
    return values


def _of(present: Present | None) -> Mapping[str, str]:
    return {} if present is None else present.parameters


def _changes(present: Present, values: Mapping[str, str]) -> str:
    changed = [
        f"{name} from {present.parameters.get(name) or 'nothing'} to {value or 'nothing'}"
        for name, value in values.items()
        if present.parameters.get(name, "") != value
    ]
    return "its parameters stay" if not changed else f"changed: {', '.join(changed)}"


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("Nothing was deployed: nobody is here to agree.", "Say --yes.")
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise CommandError("Nothing was deployed.", "Run `catwalk deploy` again when it is time.")


def _has_key(catwalk: Catwalk) -> bool:
    secrets = clients.secrets()
    try:
        answer = secrets.get_secret_value(SecretId=catwalk.outputs["VmakeApiKeySecretArn"])
    except secrets.exceptions.ResourceNotFoundException:
        return False
    return bool(answer.get("SecretString", "").strip())


def _next_steps(catwalk: Catwalk, values: Mapping[str, str], *, has_key: bool) -> None:
    say("")
    say(f"{str(catwalk.choice)[0].upper()}{str(catwalk.choice)[1:]} is ready. Next:")
    if not has_key:
        say("  catwalk set-key                  put the vendor's API key in")
    say("  catwalk doctor                   see whether all is well")
    say("  catwalk drop dress.jpg --wait    the first photo, one credit")
    say("  catwalk gallery                  before and after")
    say(f"  Photos go into s3://{catwalk.outputs['PhotosBucketName']},")
    if "ResultsBucketName" in catwalk.outputs:
        say(f"  images come into s3://{catwalk.outputs['ResultsBucketName']}.")
    if values.get("AlarmEmail"):
        say(f"  AWS has written to {values['AlarmEmail']}: alarms come once that is confirmed.")


# --- set-key --------------------------------------------------------------------------------------


@commands.command("set-key", rich_help_panel=_PANEL)
def set_key(*, stack: StackName = None) -> None:
    """Store the vendor's API key in the stack's secret.

    Type the key at the prompt, which does not show it, or pipe it in. It is not an argument, so
    that it stays out of the shell's history.
    """
    catwalk = Catwalk.chosen(stack, changes=True)
    if sys.stdin.isatty():
        given = typer.prompt("API key (nothing is shown)", hide_input=True)
    else:
        given = sys.stdin.read(key.MOST + 2)
    _put(catwalk, given)
    say("Check it: catwalk doctor")


def _put(catwalk: Catwalk, given: str) -> None:
    """Store a key in the secret, and end a pause that a refused key has caused."""
    cleaned = key.cleaned(given)
    if "VmakeApiKeySecretArn" not in catwalk.outputs:
        raise CommandError("The stack has no output VmakeApiKeySecretArn.", "Deploy it again.")
    key.put(clients.secrets(), catwalk.outputs["VmakeApiKeySecretArn"], cleaned)
    say(f"The key is in the secret of {catwalk.choice}.")
    dynamodb, table, now = clients.dynamodb(), catwalk.outputs["JobsTableName"], utc_now()
    pause = pause_of(dynamodb, table)
    if pause is None:
        say("A function that knows an earlier key uses this one within five minutes.")
        return
    left = pause.seconds_left(now)
    if end_pause(dynamodb, table, pause, now):
        job = try_one(catwalk.jobs, clients.sqs(), catwalk.outputs["SubmitQueueUrl"])
        photo = "the next photo" if job is None else job.source_key
        say(f"Submission was paused; that is over, and {photo} tries the key. {OTHERS_FOLLOW}")
    else:
        wait = f" in {span(left)}" if left else ""
        say(f"Submission is paused ({pause.reason}); the next photo tries the key{wait}.")


# --- doctor ---------------------------------------------------------------------------------------


@commands.command(rich_help_panel=_PANEL)
def doctor(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON, for other programs.")
    ] = False,
    stack: StackName = None,
) -> None:
    """Check a stack and name the command that fixes each problem; exit 1 if there is one."""
    findings = []
    for finding in examine(stack):
        findings.append(finding)
        if not as_json:
            _show(finding)
    bad = sum(finding.verdict is Verdict.BAD for finding in findings)
    if as_json:
        document = {"healthy": not bad, "checks": [asdict(finding) for finding in findings]}
        print(written(document, indent=2))
    else:
        say("")
        looks = sum(finding.verdict is Verdict.LOOK for finding in findings)
        fine = f"Nothing has to be done; {looks} worth a look." if looks else "All is well."
        say(f"{bad} thing{'' if bad == 1 else 's'} to do." if bad else fine)
    raise SystemExit(1 if bad else 0)


def _show(finding: Finding) -> None:
    made = console()
    line = shown(f"{_mark(finding.verdict)} {finding.verdict:4}  ")
    line.stylize(_STYLES[finding.verdict])
    line.append(shown(f"{finding.check:12}  {finding.found}"))
    made.print(line, soft_wrap=not made.is_terminal)
    if finding.todo or finding.command:
        todo = " ".join(filter(None, (finding.todo, finding.command)))
        made.print(shown(f"        {'':12}  -> {todo}"), soft_wrap=not made.is_terminal)


def _mark(verdict: Verdict) -> str:
    mark = _MARKS[verdict]
    try:
        mark.encode(sys.stdout.encoding or "utf-8")
    except UnicodeError:
        return {"✓": "+", "✗": "x"}.get(mark, mark)
    return mark
