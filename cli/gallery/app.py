"""The gallery's pages: what is asked for, what is answered."""

import itertools
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs
from urllib.parse import quote as percent_encoded

import jinja2
from botocore.exceptions import BotoCoreError, ClientError
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from cli.errors import CommandError, sentence
from cli.gallery import overview, reviews
from cli.gallery.access import Access, Guard
from cli.gallery.archive import zipped
from cli.gallery.desk import Desk
from cli.gallery.forms import answered, trouble_of
from cli.gallery.images import WIDTHS, Picture, PictureGoneError, Pictures, Seal
from cli.gallery.looks import MODEL_OPTIONS, SCENE_OPTIONS
from cli.gallery.shoot import MOST_SELECTED, Selections
from cli.gallery.uploads import Uploads
from cli.gallery.views import (
    CHOICES,
    Asked,
    Shower,
    job_url,
    mask_of,
    model_of,
    name_of,
    scene_of,
    status_of,
    version_of,
)
from cli.jobs import timeline
from cli.jobs.browse import Browser, Filter, Page
from cli.jobs.recovery import Recovery, RecoveryAction, Resolution, outcome
from cli.jobs.review import Reviewer
from cli.stacks.stack import Catwalk
from cli.stacks.submission import Pause, pause_of
from cli.terminal.output import credits_of, most_credits
from shared import clients
from shared.clock import iso, utc_now
from shared.models import Job, JobStatus
from shared.records.jobs import JobRepository
from shared.vmake.catalogue import MODELS, SCENES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE: Final = 24
"""Jobs a page; a multiple of two, three and four columns."""
_SECONDS: Final = 0.6
"""How long a page looks for jobs that match before it shows what it has found."""
_MOST_LIVE: Final = 100
_MOST_SAID: Final = 64
_MOST_FORM_BYTES: Final = 16_384
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Gallery:
    """A stack as the gallery uses it, with the caller's own AWS rights."""

    name: str
    place: str
    """Where the stack is: a region, or this machine."""
    on_aws: bool
    """Whether the AWS console knows its executions."""
    browser: Browser
    jobs: JobRepository
    recovery: Callable[[], Recovery]
    """A new one for each decision: it reads once."""
    desk: Desk = field(repr=False)
    reviewer: Reviewer
    pause: Callable[[], Pause | None]
    """Reads whether submission is paused."""
    s3: "S3Client" = field(repr=False)
    pictures: Pictures = field(repr=False)

    @classmethod
    def of(cls, stack: Catwalk, cache: Path) -> "Gallery":
        """Show this stack; small copies of its pictures are kept in `cache`."""
        s3 = clients.s3()
        elsewhere = stack.choice.laptop or bool(os.environ.get("AWS_ENDPOINT_URL"))
        region = os.environ.get("AWS_DEFAULT_REGION") or str(s3.meta.region_name)
        return cls(
            name=stack.name,
            place="this machine" if elsewhere else region,
            on_aws=not elsewhere,
            browser=Browser(clients.dynamodb(), stack.outputs["JobsTableName"]),
            jobs=stack.jobs,
            recovery=lambda: Recovery.of(stack),
            desk=Desk.of(stack),
            reviewer=Reviewer.of(stack),
            pause=lambda: pause_of(clients.dynamodb(), stack.outputs["JobsTableName"]),
            s3=s3,
            pictures=Pictures(s3, cache),
        )


def create_app(gallery: Gallery, access: Access) -> ASGIApp:
    """Return the app; only whom `access` knows is answered."""
    pages = _Pages(gallery, access)
    app = Starlette(
        routes=[
            Route("/", pages.grid),
            Route("/live", pages.live),
            Route("/counts", pages.counts),
            Route("/results.zip", pages.archive),
            Route("/jobs/{job_id}", pages.job),
            Route("/jobs/{job_id}/live", pages.job_live),
            Route("/jobs/{job_id}/results.zip", pages.job_archive),
            Route("/jobs/{job_id}/recover", pages.recover, methods=["POST"]),
            Route("/jobs/{job_id}/review", pages.review, methods=["POST"]),
            Route("/small/{width:int}/{name}", pages.small),
            Route("/original/{name}", pages.original),
            *pages.selections.routes,
            *pages.uploads.routes,
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
        lifespan=pages.uploads.lifespan,
        exception_handlers={
            HTTPException: pages.refused,
            CommandError: pages.refused,
            PictureGoneError: pages.no_picture,
            ClientError: pages.aws_trouble,
            BotoCoreError: pages.aws_trouble,
            Exception: pages.bug,
        },
    )
    # Around all of it: Starlette's own middleware would stand inside of what answers to bugs.
    return Guard(app, access)


@dataclass(frozen=True)
class _Button:
    """Something that can be done for a job, and what it costs."""

    id: str
    label: str
    title: str
    """The question."""
    says: str
    price: str
    credits: int


_BUTTONS: Final = {
    RecoveryAction.RECOPY: (
        "Copy results again",
        "Copy its results once more?",
        "The results are fetched again from the task that was paid for.",
    ),
    RecoveryAction.RESUME: (
        "Go on with the paid task",
        "Go on with the paid task?",
        "The task was paid for and given up; it is asked for its results again.",
    ),
    RecoveryAction.REGENERATE: (
        "Make new images",
        "Make new images?",
        "The next attempt makes new images from the same photo and settings.",
    ),
}


class _Said:
    """What became of a form, told on the next page, once."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._lock = Lock()

    def keep(self, tone: str, text: str) -> str:
        """Keep a sentence; return what it is fetched with."""
        name = secrets.token_urlsafe(9)
        with self._lock:
            self._said[name] = (tone, text)
            while len(self._said) > _MOST_SAID:
                self._said.popitem(last=False)
        return name

    def take(self, name: str) -> tuple[str, str] | None:
        """Return a sentence, unless it was told before."""
        with self._lock:
            return self._said.pop(name, None)


class _Pages:
    """Answers requests; the plain functions run in threads, since boto3 waits."""

    def __init__(self, gallery: Gallery, access: Access) -> None:
        self._gallery = gallery
        self._access = access
        self._seal = Seal(access.secret)
        self._show = Shower(self._seal, gallery.pictures)
        self._said = _Said()
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._templates.filters["marked"] = _marked
        self._templates.globals |= {
            "stack": gallery.name,
            "place": gallery.place,
            "root": access.root,
            "model_options": MODEL_OPTIONS,
            "scene_options": SCENE_OPTIONS,
            "most_selected": MOST_SELECTED,
        }
        desk = gallery.desk
        self.selections = Selections(
            access=access,
            browser=gallery.browser,
            jobs=gallery.jobs,
            reviewer=gallery.reviewer,
            shooter=desk.shooter,
            s3=gallery.s3,
            show=self._show,
            render=self._page,
        )
        self.uploads = Uploads(access, desk)

    # --- the grid --------------------------------------------------------------------------

    def grid(self, request: Request) -> Response:
        """Show jobs, newest first; with `part` only the cards, to be added below others."""
        asked = Asked.of(request.query_params)
        now = iso(utc_now())
        after = request.query_params.get("after")
        page = self._page_of(asked, after)
        if after is None and asked.folder and not page.jobs:
            asked = self._spelled(asked)
            page = self._page_of(asked, after)
        banner = overview.banner(self._gallery.pause())
        cards = [self._show.card(job, paused=banner is not None) for job in page.jobs]
        shown = {
            "cards": cards,
            "more": asked.url(after=page.after) if page.after else None,
            "found_all": page.after is None,
            "has_results": any(card.results for card in cards),
        }
        if "part" in request.query_params:
            return self._page("cards.html", shown)
        around = {
            "asked": asked,
            "first": after is None,
            "choices": CHOICES,
            "models": _with(MODELS, asked.model, model_of),
            "scenes": _scenes(asked.scene),
            "live": asked.url("/live", since=now),
            "counts": asked.url("/counts"),
            "banner": banner,
            "archive": asked.url("/results.zip"),
            "everything": Asked(sort=asked.sort).url(),
            "matching": asked.url("/selection/matching"),
            "token": self._access.form_token,
        }
        return self._page("grid.html", {**shown, **around})

    def _page_of(self, asked: Asked, after: str | None) -> Page:
        browser = self._gallery.browser
        if asked.sort == "name":
            return browser.page_by_name(asked.filter, size=PAGE, after=after)
        return browser.page(asked.filter, size=PAGE, after=after, seconds=_SECONDS)

    def _spelled(self, asked: Asked) -> Asked:
        """Return what is asked for with the folder as it is spelled in the bucket."""
        spelled = self._gallery.browser.folder_like(asked.folder, seconds=_SECONDS)
        return asked if spelled is None else replace(asked, folder=spelled)

    def live(self, request: Request) -> Response:
        """Return what has changed of the cards in sight, and which jobs have come or gone.

        The query has the grid's filters, `since`, and a `card` each: `<job id>.<version>`.
        """
        asked = Asked.of(request.query_params)
        known = dict(
            card.partition(".")[::2] for card in request.query_params.getlist("card")[:_MOST_LIVE]
        )
        jobs = self._gallery.browser.some(list(known)) if known else {}
        banner = overview.banner(self._gallery.pause())
        card = self._templates.get_template("card.html")
        changed = {
            job_id: card.render(card=self._show.card(job, paused=banner is not None))
            for job_id, job in jobs.items()
            if version_of(job) != known[job_id]
        }
        since = request.query_params.get("since", "")
        came = self._gallery.browser.came_since(asked.filter, since) if since else []
        return JSONResponse(
            {
                "cards": changed,
                "came": [job.job_id for job in came],
                # The grid keeps these until it is loaded again: nothing moves by itself.
                "gone": [job_id for job_id, job in jobs.items() if not asked.filter.matches(job)],
                "banner": self._templates.get_template("banner.html").render(banner=banner),
            }
        )

    def counts(self, request: Request) -> Response:
        """Return the number of jobs behind each chip, and how a folder or an article gets on."""
        asked = Asked.of(request.query_params)
        numbers = overview.counts(self._gallery.browser, asked)
        said, left = "", None
        if numbers and (asked.folder or asked.sku):
            whole = replace(asked, status="")
            if numbers["running"].number:
                left = overview.seconds_left(self._gallery.browser, whole, utc_now())
            said = overview.summary(numbers, left)
        return JSONResponse(
            {
                "numbers": {name: [count.number, count.exact] for name, count in numbers.items()},
                "summary": said,
                "under_way": numbers["running"].number if numbers else None,
            }
        )

    def archive(self, request: Request) -> Response:
        """Stream the results of all jobs that are asked for."""
        asked = Asked.of(request.query_params)
        parts = [part for part in (asked.folder.strip("/"), asked.sku, asked.model) if part]
        jobs = self._gallery.browser.all(asked.filter)
        # What stands in the way of the first is told on a page, not inside of a zip.
        first = next(jobs, None)
        found = [] if first is None else itertools.chain([first], jobs)
        # As `catwalk pull` has it: a status or a review that is asked for changes no name. A search
        # of the whole stack does not read all jobs for it.
        which = Filter(folder=asked.filter.folder, sku=asked.filter.sku)
        if not (asked.folder or asked.sku):
            which = replace(asked.filter, statuses=frozenset(), review=None)
        named = self._gallery.browser.all(which)
        return self._zip(request, found, "-".join(parts) or "results", named=named)

    # --- a job's page ----------------------------------------------------------------------

    def job(self, request: Request) -> Response:
        """Show a job."""
        job = self._job(request)
        said = self._said.take(request.query_params.get("said", ""))
        waits = job.waiting is not None
        banner = overview.banner(self._gallery.pause()) if waits else None
        return self._page("job.html", {**self._shown(job), "said": said, "banner": banner})

    def job_live(self, request: Request) -> Response:
        """Return a job's page without its frame, once it is not what the browser shows any more."""
        job = self._job(request)
        if version_of(job) == request.query_params.get("version"):
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return self._page("job_main.html", {**self._shown(job), "said": None})

    def job_archive(self, request: Request) -> Response:
        """Stream a job's results."""
        job = self._job(request)
        stem = name_of(job).rpartition(".")[0] or name_of(job)
        return self._zip(request, [job], stem)

    async def recover(self, request: Request) -> Response:
        """Do for a job what its page offered, if it is still as it was shown there."""
        form = await self._form(request)
        tone, text = await run_in_threadpool(self._recover, request, form)
        job_id = request.path_params["job_id"]
        said = self._said.keep(tone, text)
        address = f"{self._access.root}/jobs/{percent_encoded(job_id, safe='')}?said={said}"
        return RedirectResponse(address, HTTPStatus.SEE_OTHER)

    async def review(self, request: Request) -> Response:
        """Keep what a person decided about a job's results; a script is answered in JSON."""
        if "application/json" in request.headers.get("accept", ""):
            return await self._review_for_script(request)
        form = await self._form(request)
        answer = await run_in_threadpool(self._review, request, form)
        tone = "good" if answer.status is HTTPStatus.OK else "doubt"
        said = self._said.keep(tone, answer.message)
        job_id = percent_encoded(request.path_params["job_id"], safe="")
        return RedirectResponse(
            f"{self._access.root}/jobs/{job_id}?said={said}", HTTPStatus.SEE_OTHER
        )

    @answered
    async def _review_for_script(self, request: Request) -> Response:
        form = await self._form(request)
        answer = await run_in_threadpool(self._review, request, form)
        return JSONResponse(answer.document(), answer.status)

    def _review(self, request: Request, form: dict[str, str]) -> reviews.Answer:
        gallery = self._gallery
        return reviews.take(form, self._job(request), gallery.jobs, gallery.reviewer)

    async def _form(self, request: Request) -> dict[str, str]:
        """Return a form of one of this session's pages.

        Raises:
            HTTPException: it is too long, or not one of this session's.

        """
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_FORM_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        if not self._access.made_form(form.get("token", "")):
            raise HTTPException(HTTPStatus.FORBIDDEN, "This form is of an earlier gallery.")
        return form

    def _recover(self, request: Request, form: dict[str, str]) -> tuple[str, str]:
        job = self._job(request)
        now = {
            "attempt": str(job.attempt),
            "status": job.status.value,
            "revision": str(job.review.revision if job.review else 0),
        }
        if any(form.get(name) != value for name, value in now.items()):
            return "doubt", "It has changed since this page was shown; nothing was done."
        recovery = self._gallery.recovery()
        wanted = form.get("action", "")
        try:
            if wanted in set(RecoveryAction):
                action = RecoveryAction(wanted)
                quote = recovery.quote(action, job)
                if quote.refusal is None and str(quote.credits) != form.get("credits"):
                    return (
                        "doubt",
                        f"It costs {credits_of(quote.credits)} by now; nothing was done.",
                    )
                after = recovery.perform(action, job)
            else:
                resolution = Resolution(wanted)
                task_id = form.get("task_id", "").strip() or None
                after = recovery.resolve(resolution, job, task_id=task_id)
        except ValueError as error:
            return "doubt", sentence(str(error))
        if after is None:
            return "doubt", "It has changed since this page was shown; nothing was done."
        return "good", outcome(job, after, "It")

    def _shown(self, job: Job) -> dict[str, Any]:
        settings = job.settings
        recovery = self._gallery.recovery()
        replacement = timeline.replacement(job, recovery)
        return {
            "job": job,
            "title": name_of(job),
            "card": self._show.card(job),
            "also": self.selections.also(job),
            # A photo that is unusable with one look is so with any other.
            "can_shoot": job.photo is not None and job.settings is not None and not replacement,
            "status": status_of(job),
            "version": version_of(job),
            **reviews.shown(job),
            "url": job_url(job),
            "model": model_of(settings.model_id) if settings else "",
            "scene": scene_of(settings) if settings else "",
            "mask": mask_of(settings) if settings else "",
            "moments": _moments(job),
            "replacement": replacement,
            "replacement_price": most_credits(replacement.credits) if replacement else "",
            "took": timeline.took(job),
            "earlier": self._show.earlier(job),
            # The same bytes would be rejected again.
            "buttons": [] if replacement else self._buttons(job, recovery),
            "unknown": job.status is JobStatus.SUBMIT_UNKNOWN,
            "notes": [
                step
                for step in timeline.next_steps(job, recovery)
                if step.command == "catwalk redrive"
            ],
            "console": timeline.execution_url(job) if self._gallery.on_aws else None,
            "token": self._access.form_token,
        }

    def _buttons(self, job: Job, recovery: Recovery) -> list[_Button]:
        buttons: list[_Button] = []
        for action, (label, title, says) in _BUTTONS.items():
            if action is RecoveryAction.RECOPY and job.status is JobStatus.SUCCEEDED:
                continue  # its images are there; `catwalk recopy` copies them again
            quote = recovery.quote(action, job)
            if quote.refusal is not None:
                continue
            price = most_credits(quote.credits) if quote.credits else "free"
            kept = action is RecoveryAction.REGENERATE and job.results
            more = " The present ones stay as older versions for 30 days." if kept else ""
            more += " The new images are to be reviewed anew." if job.review else ""
            more += " To keep both, use Shoot again." if kept else ""
            more += f" It is {quote.earlier}." if quote.earlier else ""
            # Beside it stands "Shoot again with another look".
            words = f"{label} with the same look" if kept else label
            buttons.append(
                _Button(action.value, words, title, f"{says}{more}", price, quote.credits)
            )
        # Who has images rather wants others than the same once more.
        return buttons[::-1] if job.status is JobStatus.SUCCEEDED else buttons

    # --- pictures --------------------------------------------------------------------------

    def small(self, request: Request) -> Response:
        """Return a small copy."""
        width = request.path_params["width"]
        if width not in WIDTHS:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        file = self._gallery.pictures.small(self._picture(request), width)
        return FileResponse(
            file,
            media_type="image/webp",
            # Its address names the bytes, so they never change.
            headers={"Cache-Control": "private, max-age=31536000, immutable"},
        )

    def original(self, request: Request) -> Response:
        """Stream an original, or a range of it."""
        picture = self._picture(request)
        streamed = self._gallery.pictures.stream(picture, request.headers.get("range"))
        headers = dict(streamed.headers)
        shown_as_is = headers["Content-Type"] != "application/octet-stream"
        if "download" in request.query_params or not shown_as_is:
            headers["Content-Disposition"] = _attachment(picture.name)
        if request.method == "HEAD":
            streamed.close()
            return Response(None, streamed.status, headers)
        return StreamingResponse(streamed.body, streamed.status, headers)

    def _picture(self, request: Request) -> Picture:
        return self._seal.picture(request.path_params["name"])

    def _zip(
        self, request: Request, jobs: Iterable[Job], name: str, *, named: Iterable[Job] = ()
    ) -> Response:
        headers = {"Content-Disposition": _attachment(f"catwalk-{name.replace('/', '-')}.zip")}
        # A HEAD would have all of it read, to be thrown away.
        empty = request.method == "HEAD"
        body = iter(()) if empty else zipped(self._gallery.s3, jobs, named=named)
        return StreamingResponse(body, media_type="application/zip", headers=headers)

    # --- what goes wrong -------------------------------------------------------------------

    def refused(self, request: Request, error: Exception) -> Response:
        """Say what was wrong with a request."""
        if isinstance(error, CommandError):
            return self._message(request, HTTPStatus.BAD_REQUEST, str(error), error.next_step)
        assert isinstance(error, HTTPException)  # the two that this is registered for
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = error.detail if error.detail != HTTPStatus.NOT_FOUND.phrase else ""
            return self._message(
                request, error.status_code, detail or "There is no such page.", "Look at all jobs."
            )
        return self._message(
            request, error.status_code, error.detail, "Go back, load the page anew and try again."
        )

    def no_picture(self, _request: Request, error: Exception) -> Response:
        """Say why a picture cannot be shown; the page shows something in its place."""
        return Response(
            str(error), HTTPStatus.NOT_FOUND, {"Cache-Control": "no-store"}, "text/plain"
        )

    def aws_trouble(self, request: Request, error: Exception) -> Response:
        """Say that AWS cannot be asked, or refused."""
        text, advice = trouble_of(error)
        return self._message(
            request, HTTPStatus.BAD_GATEWAY, text, advice, detail=sentence(str(error))
        )

    def bug(self, request: Request, error: Exception) -> Response:
        """Say that this is a bug; the terminal shows the traceback."""
        return self._message(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            f"This is a bug in Catwalk: {type(error).__name__}.",
            "The terminal of `catwalk gallery` shows more; open an issue with it.",
        )

    def _message(
        self, request: Request, status: int, text: str, advice: str, *, detail: str = ""
    ) -> Response:
        # What AWS did not answer may be asked again, except what changes something.
        again = bool(detail) and request.method == "GET"
        values = {"text": text, "advice": advice, "detail": detail, "again": again}
        return self._page("message.html", values, status)

    def _page(
        self, template: str, values: Mapping[str, object], status: int = HTTPStatus.OK
    ) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(values), status)

    def _job(self, request: Request) -> Job:
        job_id = request.path_params["job_id"]
        job = self._gallery.jobs.get(job_id)
        if job is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"There is no job {job_id[:64]!r}.")
        return job


def _marked(text: str) -> Markup:
    """Return a sentence as HTML, with commands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _moments(job: Job) -> list[timeline.Moment]:
    """Return what happened; the page shows the present error above it."""
    *earlier, last = timeline.timeline(job)
    return [*earlier, replace(last, detail="") if job.error else last]


def _with(known: dict[str, str], value: str, name: Callable[[str], str]) -> dict[str, str]:
    """Return choices, and what was asked for among them."""
    return known if not value or value in known else {**known, value: name(value)}


def _scenes(asked: str) -> dict[str, str]:
    known = {
        "original": "Own background",
        "none": "Cut out",
        "color": "Any colour",
        "preset": "Any scene",
        **{f"preset-{scene}": f"Scene {scene}" for scene in sorted(SCENES)},
    }
    return _with(known, asked, lambda scene: scene.replace("color-", "On #"))


def _attachment(name: str) -> str:
    """Return the header that has a browser save a file under any name."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{percent_encoded(name, safe='')}"
