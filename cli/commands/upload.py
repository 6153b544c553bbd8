"""`catwalk drop`: uploads photos, and waits for their images."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import Annotated, Final

import typer
from botocore.exceptions import ClientError

from cli.errors import CommandError
from cli.jobs.recovery import Recovery
from cli.jobs.timeline import next_steps, results_uri
from cli.stacks import selection
from cli.stacks.stack import Catwalk
from cli.stacks.submission import NewBucket, Pause, new_bucket, pause_of
from cli.terminal.options import DryRun, Json, StackName, Yes, ask
from cli.terminal.output import (
    Column,
    console,
    counted,
    credits_of,
    duration,
    say,
    say_hanging,
    say_json,
    say_whole,
    show_table,
    size_of,
    tell,
    warn,
)
from cli.terminal.words import STATUS_WORDS, error_word, settings_words
from cli.upload import parsing, progress
from cli.upload.collect import Collection, Rules, collect, files_of, with_mask
from cli.upload.drop import Changes, Drop, Follower, Uploader, drops_of
from cli.upload.known import known_jobs
from cli.upload.table import (
    COLUMNS,
    Own,
    Row,
    SkuPattern,
    TableError,
    own_of_table,
    read_table,
    without_sku,
)
from local.console import is_live, live
from shared import clients
from shared.clock import iso, utc_now
from shared.errors import InputRejected
from shared.intake.messages import is_photo_key, mask_ref
from shared.intake.photos import mask_key
from shared.intake.settings import MAX_ID, metadata_value
from shared.models import Job, JobStatus

commands = typer.Typer()
_PANEL: Final = "Photos"


def _path(text: str) -> Path:
    """Return a path; refuse an empty text, which Python would take for the current folder.

    Raises:
        CommandError: the text is empty, most likely an unset shell variable.

    """
    if not text.strip():
        raise CommandError("A photo's name is empty.", "Name a photo, or leave it out.")
    return Path(text)


def _table(text: str) -> Path:
    """Return the table's path; refuse an empty text.

    Raises:
        CommandError: the text is empty.

    """
    if not text.strip():
        raise CommandError("--table is empty.", "Name a CSV file, or leave it out.")
    return Path(text)


_MOST_LOOKS: Final = 3
"""Different settings that are named; more are counted."""
_ASKED_FROM: Final = 10
"""Above this number of credits the command asks for confirmation."""
_REFRESH_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 3.0
"""Interval at which the pause of submission is read."""
_QUIET_SECONDS: Final = 120.0
"""If no record appears within this time, the event of a photo may be lost."""
_INTERRUPTED: Final = 130
_MOST_METADATA: Final = 2_048
"""Bytes of user metadata that S3 accepts."""
_MOST_LISTED: Final = 10
"""Photos that the summary on a terminal lists."""
_IDS: Final = "\0"
"""Stands for the job ids in a proposed command; no file name has this character."""
_MOST_NAMED: Final = 20
"""Job ids in a proposed command; further ids are only counted."""


@commands.command(rich_help_panel=_PANEL)
def drop(
    photos: Annotated[
        list[Path],
        typer.Argument(
            parser=_path,
            help="Photos and folders of photos. The keys keep a folder's structure.",
            show_default=False,
        ),
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option(help="The folder in the bucket: summer/. Default: the top of the bucket."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="antonia, clara, jamila, mia, lavanya, or a model id: 002."),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            help="The background: original (the photo's own), none (cut out), preset:035 (a scene)"
            " or color:#f4e9dd."
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Images per photo; the price stays the same.", min=1, max=4),
    ] = None,
    sku: Annotated[
        str | None, typer.Option(help="Your SKU (article number) of the photos.")
    ] = None,
    sku_from: Annotated[
        str | None,
        typer.Option(help="Take the SKU from the file names: '{sku}_*'.", metavar="PATTERN"),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            parser=_table,
            help=f"A CSV file with a line for each photo; its columns are {', '.join(COLUMNS)}.",
            metavar="FILE",
        ),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="Your request id; a new one makes new jobs.")
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(help="A PNG with the photo's size: a local file, or a key in the bucket."),
    ] = None,
    extra: Annotated[
        str | None, typer.Option(help="Additional fields of the vendor's request, as JSON.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for the images; exit 1 if any failed.")
    ] = False,
    timeout: Annotated[str, typer.Option(help="With --wait: stop waiting after this time.")] = "1h",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also upload files that will be rejected.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Upload photos into the bucket. One credit per photo and variant.

    With --json, each event is one line: `uploaded`, `not uploaded`, `job` (the record, after each
    change), and finally `summary`.
    """
    patience = parsing.span(timeout, "--timeout")
    _refuse_unusable(to, mask, sku, sku_from)
    pattern = SkuPattern.of(sku_from) if sku_from is not None else None
    rows = _rows(table) if table is not None else []
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    values = parsing.values(
        model=model, scene=scene, images=images, sku=sku, request_id=request_id, extra=extra
    )
    files = files_of(photos, to or "")
    if mask and Path(mask).is_file():
        files = with_mask(files, Path(mask))
    elif mask:
        values["mask"] = _mask_key(mask, catwalk, files)
    own, nameless = _own(files, values, pattern, table, rows, catwalk)
    files |= {mask_key(key): file for key, file in own.masks.items()}
    metadata = {key: _metadata(own_values) for key, own_values in own.values.items()}
    rules = Rules.of(catwalk, _metadata(values), own=metadata)
    named = {path for path in photos if path.is_file()}
    found = collect(files, named, rules=rules, anyway=anyway)
    for skipped in found.skipped:
        warn(skipped)
    if not found.uploads:
        raise CommandError(
            "There is nothing to drop.",
            "Name JPEG or PNG photos, or folders of them; --anyway also uploads other files.",
        )
    known = known_jobs(
        catwalk.jobs, rules.in_bucket, catwalk.outputs["PhotosBucketName"], found.photos
    )
    _announce(found, catwalk, known, dry_run=dry_run, as_json=as_json)
    remarks = _remarks(found, pattern, nameless, table, own.listed)
    for remark in remarks:
        warn(remark)
    if dry_run:
        return
    cost = found.jobs - known
    if cost > _ASKED_FROM or remarks:
        price = f"spend {credits_of(cost)}" if cost > 0 else "spend nothing"
        ask(f"Go on with {looks_of(found)}, and {price}?", yes=yes, as_json=as_json)
    run = _Run(catwalk, found, wait=wait, patience=patience, as_json=as_json)
    raise SystemExit(run())


def _rows(table: Path) -> list[Row]:
    try:
        return read_table(table)
    except TableError as error:
        raise _listed(error) from error


def _listed(error: TableError) -> TableError:
    """List the mistakes of a table, if there are several, before the error is shown."""
    for mistake in error.listed:
        warn(mistake)
    return error


def _own(
    files: Mapping[str, Path],
    values: Mapping[str, str],
    pattern: SkuPattern | None,
    table: Path | None,
    rows: Sequence[Row],
    catwalk: Catwalk,
) -> tuple[Own, list[str]]:
    """Return what names and a table say about photos, and the keys of those without a SKU."""
    own = Own()
    if table is not None:
        try:
            own = own_of_table(
                table, rows, files, values, lambda mask: _mask_key(mask, catwalk, files)
            )
        except TableError as error:
            raise _listed(error) from error
    nameless: list[str] = []
    photos = [key for key in files if is_photo_key(key)] if pattern is not None else []
    for key in photos:
        mine = own.values.setdefault(key, dict(values))
        # The table's SKU stands before that of the name.
        if "sku" in mine:
            continue
        name = key.rpartition("/")[2]
        sku = pattern.sku_of(name) if pattern is not None else None
        if sku is None:
            nameless.append(key)
        else:
            try:
                mine |= parsing.values(sku=sku)
            except CommandError as error:
                raise CommandError(
                    f"--sku-from finds {sku!r} in {name!r}.",
                    f"Nothing was uploaded. A SKU is a line of 1 to {MAX_ID} characters.",
                ) from error
    if photos and len(nameless) == len(photos) and pattern is not None:
        raise CommandError(
            f"No photo's name matches {pattern.text!r}: {nameless[0].rpartition('/')[2]}.",
            "Nothing was uploaded. {sku} stands for the SKU and * for any text.",
        )
    return own, nameless


def _remarks(
    found: Collection,
    pattern: SkuPattern | None,
    nameless: Sequence[str],
    table: Path | None,
    listed: Iterable[str],
) -> list[str]:
    """Return what a person may not expect, as sentences; then the command asks."""
    keys = {upload.key for upload in found.photos}
    remarks = []
    left = sorted(keys & {*nameless})
    if pattern is not None and left:
        remarks.append(without_sku(left, pattern))
    unlisted = keys - {*listed}
    if table is not None and unlisted:
        more = counted(len(unlisted), "photo")
        remarks.append(f"{more} of {len(keys)} not in {table}: the other settings apply to them.")
    return remarks


def _metadata(values: Mapping[str, str]) -> dict[str, str]:
    """Return settings as S3 user metadata.

    Raises:
        CommandError: they are too long.

    """
    metadata = parsing.metadata(values)
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MOST_METADATA:
        raise CommandError(
            f"The settings take more than {_MOST_METADATA} bytes, the limit of S3 metadata.",
            "Put long values (extra) into a catwalk.json in the photos' folder.",
        )
    return metadata


def _refuse_unusable(
    to: str | None, mask: str | None, sku: str | None, sku_from: str | None
) -> None:
    """Refuse options that would cost credits in the wrong folder or with the wrong settings.

    Raises:
        CommandError: one is empty or an address, or two contradict each other.

    """
    for name, value, instead in (
        ("--to", to, "Name a folder; / is the bucket's top."),
        ("--mask", mask, "Name a PNG, or leave it out."),
    ):
        if value is not None and not value.strip():
            raise CommandError(f"{name} is empty.", instead)
    if to is not None and "://" in to:
        raise CommandError(
            f"--to {to!r} is an address.",
            "Name the folder in the stack's photos bucket alone: --to summer/.",
        )
    if sku is not None and sku_from is not None:
        raise CommandError("--sku and --sku-from contradict each other.", "Leave one of them out.")


def _mask_key(mask: str, catwalk: Catwalk, files: Mapping[str, Path]) -> str:
    """Return a mask that is a key in the bucket or an address, and is no file here.

    Raises:
        CommandError: it cannot be used, or there is no such object.

    """
    bucket = catwalk.outputs["PhotosBucketName"]
    try:
        mask_ref(mask, bucket, catwalk.vendor_origin)
    except InputRejected as rejected:
        raise CommandError(
            f"--mask cannot be used: {rejected.message}",
            "Name a PNG file here, a key in the photos bucket, or a public https URL.",
        ) from rejected
    if "://" in mask or mask in files:
        return mask
    try:
        clients.s3().head_object(Bucket=bucket, Key=mask)
    except ClientError as error:
        # Without the right to look for it, SubmitFunction decides.
        if error.response["Error"].get("Code") in {"404", "NoSuchKey"}:
            raise CommandError(
                f"There is no mask {mask!r}: neither a file here nor an object in s3://{bucket}/.",
                "Nothing was uploaded. Check the name.",
            ) from error
    return mask


def looks_of(found: Collection) -> str:
    """Return what will be made, in words: `Clara, own background, 4 images each`."""
    looks = Counter(
        settings_words(settings) for upload in found.photos for settings in upload.settings
    )
    if len(looks) > _MOST_LOOKS:
        return f"{len(looks)} different settings"
    if len(looks) == 1:
        (look,) = looks
        return f"{look} each"
    return "; ".join(f"{count} x {look}" for look, count in looks.most_common()) or "no settings"


def _announce(
    found: Collection, catwalk: Catwalk, known: int, *, dry_run: bool, as_json: bool
) -> None:
    """Show what will be uploaded and what it costs."""
    photos = found.photos
    if as_json:
        if dry_run:
            for upload in found.uploads:
                say_json(
                    {
                        "event": "would upload",
                        "key": upload.key,
                        "file": str(upload.file),
                        "bytes": upload.size,
                        "credits": upload.variants,
                        "sku": metadata_value(upload.metadata, "sku") or None,
                    }
                )
        return
    if dry_run:
        columns = (
            Column("file", 2, 8),
            Column("key", 0, 12),
            Column("sku", 1, 8),
            Column("size", 3, right=True),
        )
        rows = [
            (str(up.file), up.key, metadata_value(up.metadata, "sku") or "", size_of(up.size))
            for up in found.uploads
        ]
        show_table(columns, rows)
    more = len(found.first)
    others = f" and {counted(more, 'other file')}" if more else ""
    cost = found.jobs - known
    price = f", {'up to ' if known else ''}{credits_of(cost)}" if cost > 0 else ", no credits"
    bucket = catwalk.outputs["PhotosBucketName"]
    say(f"{counted(len(photos), 'photo')}{others} for s3://{bucket}/{price}.")
    if photos:
        say(f"Settings: {looks_of(found)}.")
    if known:
        done = (
            "is done or under way already and costs"
            if known == 1
            else ("are done or under way already and cost")
        )
        say(f"{known} of {counted(found.jobs, 'job')} {done} nothing.")


@dataclass
class _Run:
    """One drop of photos, from the first upload to the summary."""

    catwalk: Catwalk
    found: Collection
    wait: bool
    patience: float
    """Seconds."""
    as_json: bool

    def __post_init__(self) -> None:
        self.drops = drops_of(self.found)
        self.table = self.catwalk.outputs["JobsTableName"]
        self.follower = Follower(
            clients.dynamodb(),
            self.table,
            resubmits=self.catwalk.config.on_unknown_submit == "resubmit",
        )
        self.changes = Changes(self.drops)
        self.progress = progress.UploadProgress(self.drops, waits=self.wait)
        self.pause: Pause | NewBucket | None = None
        self.settled = selection.endpoint() is not None
        """Whether the photos bucket is known to be no longer new. A local AWS's is never new."""
        self.last_paused = 0.0
        """Monotonic time at which submission was last seen paused."""
        self.hinted = False
        """Whether `catwalk reconcile` was offered."""
        self.begun = time.monotonic()
        self.paused_at = 0.0

    def __call__(self) -> int:
        """Run, and return the exit status."""
        try:
            in_time = self._go()
        except KeyboardInterrupt:
            self._interrupted()
            return _INTERRUPTED
        if not self.wait:
            return self._after_upload()
        return self._summary(in_time=in_time)

    def _go(self) -> bool:
        """Upload and follow; return whether all ended in time."""
        bucket = self.catwalk.outputs["PhotosBucketName"]
        before = self.follower.note_before if self.wait else lambda _: None
        uploading = Uploader(clients.s3(), bucket, before=before)
        with uploading as uploader:
            uploader.first(self.found.first)
            self.deadline = time.monotonic() + self.patience
            uploader.start(self.drops)
            screen = console()
            moving = is_live(screen) and not self.as_json
            with live(screen, self.progress) if moving else nullcontext():
                while True:
                    begun = time.monotonic()
                    uploaded = uploader.ended(_REFRESH_SECONDS)
                    if self.wait:
                        self._refresh()
                    for change in self.changes:
                        if self.as_json:
                            progress.say_change_as_json(change)
                        elif not moving:
                            progress.say_change(change)
                        elif progress.bad(change):
                            screen.print(progress.short_line_of(change, screen.width))
                    if uploaded and (not self.wait or self._all_ended()):
                        return True
                    if uploaded and time.monotonic() > self.deadline:
                        return False
                    if uploaded:
                        # A slow refresh is repeated less often, to spare the table.
                        time.sleep(max(_REFRESH_SECONDS, time.monotonic() - begun))

    def _refresh(self) -> None:
        self.follower.refresh(self.drops)
        if time.monotonic() - self.paused_at < _PAUSE_SECONDS:
            return
        self.paused_at = time.monotonic()
        pause = self._new_bucket() or pause_of(clients.dynamodb(), self.table)
        if pause is not None:
            self.last_paused = time.monotonic()
        self._hint(pause)
        news = pause is not None and (self.pause is None or pause.reason != self.pause.reason)
        if news and self.as_json and pause is not None:
            say_json({"event": "paused", "until": iso(pause.until), "reason": pause.reason})
        elif news and not is_live(console()):
            say(str(pause))
        self.pause = self.progress.pause = pause

    def _new_bucket(self) -> NewBucket | None:
        """Return the wait for a new bucket, if any."""
        if self.settled:
            return None
        used_since = self.catwalk.bucket_used_since()
        found = new_bucket(used_since, utc_now())
        self.settled = found is None and used_since is not None
        return found

    def _hint(self, pause: Pause | NewBucket | None) -> None:
        """Propose `catwalk reconcile`, once, if a photo has no record for a long time."""
        missing = [drop for drop in self.drops if drop.uploaded_at is not None and not drop.jobs]
        if self.hinted or not missing or pause is not None:
            return
        last = max(max(drop.uploaded_at or 0.0, drop.found_at) for drop in self.drops)
        if time.monotonic() - max(last, self.last_paused) < _QUIET_SECONDS:
            return
        self.hinted = True
        if self.as_json:
            keys = [drop.upload.key for drop in missing]
            say_json({"event": "no record", "keys": keys, "command": "catwalk reconcile"})
            return
        what = missing[0].upload.key if len(missing) == 1 else counted(len(missing), "photo")
        say(
            f"No record of {what} has appeared for {duration(_QUIET_SECONDS)}. Its event may be"
            " lost: S3 sends events only some 5 minutes after a stack is made. In another shell,"
            " `catwalk reconcile` finds photos without a record; it costs nothing."
        )

    def _all_ended(self) -> bool:
        return all(drop.complete or drop.trouble for drop in self.drops)

    def _interrupted(self) -> None:
        uploaded = sum(drop.uploaded_at is not None for drop in self.drops)
        ended = sum(drop.complete for drop in self.drops)
        tell(
            f"Stopped. {uploaded} of {counted(len(self.drops), 'photo')} had been uploaded"
            + (f", and {ended} of these had ended" if self.wait else "")
            + "; what was uploaded goes on by itself: `catwalk watch` shows it."
        )
        if uploaded < len(self.drops):
            tell("To upload the rest, run the same command again: what is done costs nothing more.")

    def _after_upload(self) -> int:
        failed = [drop for drop in self.drops if drop.trouble]
        uploaded = len(self.drops) - len(failed)
        left_out = {"leftOut": len(self.found.skipped)}
        if self.as_json:
            say_json(
                {"event": "summary", "uploaded": uploaded, "notUploaded": len(failed), **left_out}
            )
        else:
            say(
                f"{counted(uploaded, 'photo')} uploaded in"
                f" {duration(time.monotonic() - self.begun)}."
            )
            new = self._new_bucket() if uploaded else None
            if new is not None:
                say(str(new))
            if uploaded:
                say("`catwalk watch` shows how they get on; `catwalk jobs`, what became of them.")
            if failed and console().is_terminal:
                _list_troubles(failed)
        return 1 if failed or self.found.missed else 0

    def _summary(self, *, in_time: bool) -> int:
        jobs = [(drop, job) for drop in self.drops for job in drop.jobs.values()]
        good = [job for _, job in jobs if job.status is JobStatus.SUCCEEDED]
        already = sum(drop.unchanged(job) for drop, job in jobs if job in good)
        wrong = [job for _, job in jobs if self.follower.ended(job) and job not in good]
        troubles = [drop for drop in self.drops if drop.trouble]
        open_drops = [drop for drop in self.drops if not (drop.complete or drop.trouble)]
        spent = sum(
            job.task_id is not None and job.resumed_at is None and not drop.unchanged(job)
            for drop, job in jobs
        )
        unsure = sum(job.status is JobStatus.SUBMIT_UNKNOWN for _, job in jobs)
        seconds = time.monotonic() - self.begun
        fine = in_time and not wrong and not troubles and not open_drops
        if self.as_json:
            say_json(
                {
                    "event": "summary",
                    "photos": len(self.drops),
                    "succeeded": len(good),
                    "alreadyDone": already,
                    "failed": _by_code(wrong),
                    "leftOut": len(self.found.skipped),
                    "notUploaded": len(troubles),
                    "notInTime": len(open_drops),
                    "credits": spent,
                    "creditsUnknown": unsure,
                    "seconds": round(seconds, 1),
                }
            )
            return 0 if fine and not self.found.missed else 1
        words = [f"{len(good)} succeeded" + (f" ({already} already done)" if already else "")]
        if wrong:
            codes = ", ".join(
                f"{count} {code.replace('_', ' ').lower()}"
                for code, count in _by_code(wrong).items()
            )
            words.append(f"{len(wrong)} failed ({codes})")
        if troubles:
            words.append(f"{len(troubles)} not uploaded")
        if open_drops:
            words.append(f"{len(open_drops)} not done in time")
        if self.found.missed:
            words.append(f"{counted(len(self.found.skipped), 'file')} left out")
        price = credits_of(spent) + (f", perhaps {unsure} more" if unsure else "")
        say(
            f"{', '.join(words)}; {duration(seconds)}, {price}.",
            style="bold green" if fine else "bold",
        )
        self._links(good)
        if self.found.missed:
            _list_left_out(self.found.skipped)
        self._what_next(wrong, troubles, open_drops)
        return 0 if fine and not self.found.missed else 1

    def _links(self, good: Sequence[Job]) -> None:
        places = sorted({results_uri(job) for job in good} - {""})
        if not places:
            return
        if len(places) <= _MOST_LISTED:
            for place in places:
                say_whole(f"  {place}")
            return
        # All results are in one bucket, so their paths have a common prefix.
        common = f"s3://{commonpath(place.removeprefix('s3://') for place in places)}"
        images = sum(len(job.results) for job in good)
        say_whole(f"  {counted(images, 'image')} below {common}/")

    def _what_next(
        self, wrong: Sequence[Job], troubles: Sequence[Drop], open_drops: Sequence[Drop]
    ) -> None:
        """List the failures, and the commands that recover them with their price."""
        # Without a terminal, each failure was already written when it happened.
        if console().is_terminal:
            for job in wrong[:_MOST_LISTED]:
                why = f", {error_word(job.error.code)}: {job.error.message}" if job.error else ""
                say_hanging(f"  {job.source_key}: {STATUS_WORDS[job.status]}{why}", 4)
            if len(wrong) > _MOST_LISTED:
                say(f"  … and {len(wrong) - _MOST_LISTED} more: `catwalk jobs --status failed`.")
            _list_troubles(troubles[:_MOST_LISTED])
        if wrong:
            self._say_next_steps(wrong)
        if troubles:
            say("Next: run the same command again; what is done costs nothing more.")
        if any(not drop.jobs for drop in open_drops):
            say("Photos without a record yet: `catwalk reconcile` finds those whose event is lost.")
        if open_drops:
            say(
                "What is not done goes on by itself: `catwalk watch` shows it; the same command"
                " waits for it again, and costs nothing more."
            )

    def _say_next_steps(self, wrong: Sequence[Job]) -> None:
        """Show the commands that recover failed jobs, grouped by command."""
        recovery = Recovery.of(self.catwalk)
        steps: dict[str, dict[str, list[Job]]] = {}
        cost: Counter[str] = Counter()
        for job in wrong:
            for step in next_steps(job, recovery):
                if step.command is None:
                    continue
                # A task id belongs to one job, so such a command cannot name several jobs.
                alone = "--task-id" in step.command
                command = step.command if alone else step.command.replace(job.job_id, _IDS)
                steps.setdefault(step.sentence, {}).setdefault(command, []).append(job)
                cost[step.sentence] += step.credits
        if steps:
            say("Next:")
        for sentence, commands in steps.items():
            count = sum(len(jobs) for jobs in commands.values())
            all_in_all = f" {counted(count, 'job')}: {credits_of(cost[sentence])}."
            say(f"  {sentence}{all_in_all if count > 1 and cost[sentence] else ''}")
            for command, jobs in list(commands.items())[:_MOST_LISTED]:
                ids = " ".join(job.job_id for job in jobs[:_MOST_NAMED])
                rest = len(jobs) - _MOST_NAMED if _IDS in command else 0
                more = f" # and {rest} more ids" if rest > 0 else ""
                say_whole(f"    {command.replace(_IDS, ids)}{more}")
            if len(commands) > _MOST_LISTED:
                say(f"    … and {len(commands) - _MOST_LISTED} more.")


def _by_code(jobs: Sequence[Job]) -> dict[str, int]:
    counts = Counter(job.error.code.value if job.error else job.status.value for job in jobs)
    return dict(counts.most_common())


def _list_left_out(sentences: Sequence[str]) -> None:
    """Name the files that were left out: the sentences before the first upload are far above."""
    for sentence in sentences[:_MOST_LISTED]:
        say_hanging(f"  {sentence}", 4)
    if len(sentences) > _MOST_LISTED:
        say(f"  … and {len(sentences) - _MOST_LISTED} more.")


def _list_troubles(drops: Sequence[Drop]) -> None:
    for each in drops:
        say_hanging(f"  {each.upload.key}: not uploaded: {each.trouble}", 4)
