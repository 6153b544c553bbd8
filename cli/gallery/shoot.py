"""Many jobs at once: choose them, review them, shoot them again, take their images away.

A selection lives in the browser: the ids of jobs, and for each the attempt and the revision of its
review that the page showed. A decision goes by these, so what somebody else decided in the
meantime is never overwritten, and is told instead.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from botocore.exceptions import BotoCoreError, ClientError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from cli.errors import CommandError, sentence
from cli.gallery import looks, reviews
from cli.gallery.access import Access
from cli.gallery.archive import zipped
from cli.gallery.forms import answered, body_of, check_token, document_of
from cli.gallery.views import Asked, Shower, job_url, look_of, model_of, name_of, seen_of, status_of
from cli.jobs.browse import Browser, Filter
from cli.jobs.review import Decision, Reviewer
from cli.jobs.shoot import Shooter, Shot, once_each, siblings
from cli.terminal.output import counted, credits_of
from shared.models import Job, JobStatus, ReviewState
from shared.records.jobs import JobRepository

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_SELECTED: Final = 500
"""Jobs that one decision is about: some seconds of work, and some thousand images."""
_MOST_BYTES: Final = 128 * 1024
_MATCH_SECONDS: Final = 3.0
"""How long all that match are searched before what was found is selected."""
_COUNT_SECONDS: Final = 0.6
_AT_ONCE: Final = 8
_MOST_NAMED: Final = 5
"""Photos that a sentence names; more are counted."""
_DECISIONS: Final = {
    ReviewState.APPROVED: "approved",
    ReviewState.REFUSED: "refused",
}


@dataclass(frozen=True)
class Selected:
    """A job of a selection, as the page showed it."""

    job_id: str
    seen: str
    """See `seen_of`."""


@dataclass(frozen=True)
class Reviewed:
    """What became of one job of a decision."""

    job: Job | None
    """As it is now."""
    before: Job | None = None
    """As it was, if that was changed."""
    problem: str = ""
    """Why nothing was saved, as the end of a sentence about some jobs; empty if it was."""
    decided: str = ""
    """Who did what in the meantime, if that is why: `Anna approved`."""

    @property
    def saved(self) -> bool:
        """Whether the decision stands in the record."""
        return not (self.problem or self.decided)


_Decide = Callable[[Job], Decision]
"""Raises ValueError if the decision does not fit the job's images."""


class Selections:
    """Answers what is asked for a selection."""

    def __init__(
        self,
        *,
        access: Access,
        browser: Browser,
        jobs: JobRepository,
        reviewer: Reviewer,
        shooter: Callable[[], Shooter],
        s3: "S3Client",
        show: Shower,
        render: Callable[[str, Mapping[str, object]], Response],
    ) -> None:
        """Answer with these.

        Args:
            access: knows the pages' token.
            browser: finds jobs.
            jobs: the records.
            reviewer: of the person in front of the browser.
            shooter: a new one for each decision.
            s3: for the images.
            show: makes what pages show.
            render: makes a page of a template.

        """
        self._access = access
        self._browser = browser
        self._jobs = jobs
        self._reviewer = reviewer
        self._shooter = shooter
        self._s3 = s3
        self._show = show
        self._render = render
        self._quoting: tuple[str, Shooter] | None = None
        """The dialog that was quoted last, and what has read its photos."""

    @property
    def routes(self) -> list[BaseRoute]:
        """What is answered here."""
        return [
            Route("/looks", self.looks),
            Route("/selection/matching", self.matching),
            Route("/selection/review", self.review, methods=["POST"]),
            Route("/selection/undo", self.undo, methods=["POST"]),
            Route("/selection/quote", self.quote, methods=["POST"]),
            Route("/selection/shoot", self.shoot, methods=["POST"]),
            Route("/selection/results.zip", self.archive, methods=["POST"]),
            Route("/jobs/{job_id}/compare", self.compare),
        ]

    # --- choosing --------------------------------------------------------------------------

    def looks(self, _request: Request) -> Response:
        """Return an example picture of each model and scene that the stack has made images of."""
        pictures = {
            value: self._show.results(job)[0].small
            for value, job in looks.examples(self._browser).items()
        }
        return JSONResponse(pictures)

    def matching(self, request: Request) -> Response:
        """Return all jobs of a filter, as far as one selection goes, and how many there are."""
        which = Asked.of(request.query_params).filter
        found, exact = self._matching(which)
        total: int | None = len(found)
        if not exact:
            count = self._browser.count(which, seconds=_COUNT_SECONDS)
            total, exact = (None, False) if count is None else (count.number, count.exact)
        return JSONResponse(
            {
                "jobs": [
                    {"id": job.job_id, "seen": seen_of(job), "images": len(job.results)}
                    for job in found
                ],
                "message": _matching_words(len(found), total, exact=exact),
            }
        )

    def _matching(self, which: Filter) -> tuple[list[Job], bool]:
        """Return the newest jobs that match, and whether these are all."""
        found: dict[str, Job] = {}
        after: str | None = None
        until = time.monotonic() + _MATCH_SECONDS
        while (left := until - time.monotonic()) > 0 and len(found) < MOST_SELECTED:
            # A page of a narrow filter may end before it is full.
            page = self._browser.page(
                which, size=MOST_SELECTED - len(found), after=after, seconds=left
            )
            found |= {job.job_id: job for job in page.jobs}
            after = page.after
            if after is None:
                return list(found.values()), True
        return list(found.values()), False

    # --- reviewing -------------------------------------------------------------------------

    @answered
    async def review(self, request: Request) -> Response:
        """Approve or refuse the selected jobs, each by what the page showed of it."""
        document = await document_of(request, self._access, most=_MOST_BYTES)
        return await run_in_threadpool(self._review, document)

    def _review(self, document: Mapping[str, Any]) -> Response:
        state = document.get("state")
        wanted = next((decision for decision in _DECISIONS if decision.value == state), None)
        if wanted is None:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "A job is approved or refused.")

        def decide(job: Job) -> Decision:
            marks = job.review
            return Decision.about(
                job,
                wanted,
                chosen=marks.chosen if marks else (),
                refused=marks.refused if marks else (),
            )

        selected = _selected(document)
        return self._decided(selected, [decide] * len(selected), _DECISIONS[wanted])

    @answered
    async def undo(self, request: Request) -> Response:
        """Set reviews back to what they were, each unless somebody has decided since."""
        document = await document_of(request, self._access, most=_MOST_BYTES)
        return await run_in_threadpool(self._undo, document)

    def _undo(self, document: Mapping[str, Any]) -> Response:
        selected = _selected(document)
        earlier = {str(each.get("id", "")): _earlier(each) for each in document["jobs"]}
        return self._decided(selected, [earlier[each.job_id] for each in selected], "undone")

    def _decided(
        self, selected: Sequence[Selected], decisions: Sequence[_Decide], word: str
    ) -> Response:
        """Write a decision about each job, and answer what became of them."""
        jobs = self._browser.some([each.job_id for each in selected])
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = list(
                pool.map(
                    lambda each, decide: self._review_one(each, jobs.get(each.job_id), decide),
                    selected,
                    decisions,
                )
            )
        saved = [each.job for each in outcomes if each.saved and each.job is not None]
        return JSONResponse(
            {
                "message": _review_words(outcomes, word),
                "whole": len(saved) == len(selected),
                # What was not saved stays selected, as it is now: the person looks, and decides.
                "left": [
                    {"id": each.job.job_id, "seen": seen_of(each.job)}
                    for each in outcomes
                    if not each.saved and each.job is not None
                ],
                "changed": [job.job_id for job in saved],
                # What takes the decision back, if it is sent to `undo`.
                "undo": [
                    _undoing(each.job, each.before)
                    for each in outcomes
                    if each.job is not None and each.before is not None
                ],
            }
        )

    def _review_one(self, selected: Selected, job: Job | None, decide: _Decide) -> Reviewed:
        if job is None:
            return Reviewed(None, problem="are gone")
        if seen_of(job) != selected.seen:
            return _changed(job)
        try:
            decision = decide(job)
        except ValueError:
            if job.review_state is None or not job.results:
                return Reviewed(job, problem="have no images to review")
            return Reviewed(job, problem="have only refused images; choose one of them first")
        try:
            reviewed = self._reviewer.review(job, decision)
            if reviewed is not None:
                same = seen_of(reviewed) == seen_of(job)
                return Reviewed(reviewed, before=None if same else job)
            now = self._jobs.get(job.job_id)
        except (ClientError, BotoCoreError, CommandError) as error:
            return Reviewed(job, problem=f"could not be saved: {error}".rstrip("."))
        return Reviewed(None, problem="are gone") if now is None else _changed(now)

    # --- shooting again --------------------------------------------------------------------

    @answered
    async def quote(self, request: Request) -> Response:
        """Return what shooting the selection again would cost."""
        document = await document_of(request, self._access, most=_MOST_BYTES)
        values = looks.values_of(document)
        quoted = await run_in_threadpool(self._quote_again, document, values)
        return JSONResponse(quoted)

    @answered
    async def shoot(self, request: Request) -> Response:
        """Send the selection, if it costs what the page said."""
        document = await document_of(request, self._access, most=_MOST_BYTES)
        return await run_in_threadpool(self._shoot, document)

    def _quote_again(
        self, document: Mapping[str, Any], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Quote as often as a dialog's choice changes; what it has read of photos is kept."""
        dialog, quoting = str(document.get("dialog", "")), self._quoting
        if quoting is None or quoting[0] != dialog:
            quoting = (dialog, self._shooter())
            self._quoting = quoting
        shooter = quoting[1]
        shots = self._quote(document, values, shooter)
        return _quoted(shots, values, shooter, chosen=len(_selected(document)))

    def _quote(
        self, document: Mapping[str, Any], values: Mapping[str, Any], shooter: Shooter
    ) -> list[Shot]:
        selected = _selected(document)
        found = self._browser.some([each.job_id for each in selected])
        jobs = [found[each.job_id] for each in selected if each.job_id in found]
        if not jobs:
            raise HTTPException(HTTPStatus.NOT_FOUND, "None of these jobs exists any more.")
        return once_each(shooter.quote_all(jobs, values))

    def _shoot(self, document: Mapping[str, Any]) -> Response:
        values = looks.values_of(document)
        shooter = self._shooter()
        # If the dialog goes on after a refusal, what it had read before is out of date.
        self._quoting = (str(document.get("dialog", "")), shooter)
        shots = self._quote(document, values, shooter)
        possible = [shot for shot in shots if shot.refusal is None]
        price = sum(shot.credits for shot in possible)
        nonces = _nonces(document)
        # A form whose answer was lost is sent again, and another tab may have sent the same.
        known = [(shot, shooter.sent(shot, nonces.get(shot.job.job_id, ""))) for shot in possible]
        done = [job for _, job in known if job is not None]
        to_do = [shot for shot, job in known if job is None]
        others = sum(shooter.nonce_of(shot) != nonces.get(shot.job.job_id) for shot in to_do)
        changed = ""
        if price != document.get("credits"):
            changed = f"It costs {credits_of(price)} by now; nothing was done."
        elif others:
            which = "it" if len(possible) == 1 else f"{others} of them"
            changed = (
                f"Somebody has shot {which} with these settings in the meantime;"
                " nothing was done. Look again."
            )
        if changed:
            quoted = _quoted(shots, values, shooter, chosen=len(_selected(document)))
            return JSONResponse({**quoted, "message": changed}, HTTPStatus.CONFLICT)
        if not possible:
            raise HTTPException(HTTPStatus.CONFLICT, "None of these photos can be shot again.")
        sent = len(done)
        try:
            for shot in to_do:
                shooter.shoot(shot, nonce=shooter.nonce_of(shot))
                sent += 1
        except ValueError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, sentence(str(error))) from error
        except (ClientError, BotoCoreError) as error:
            raise HTTPException(
                HTTPStatus.BAD_GATEWAY,
                f"{sent} of {counted(len(possible), 'photo')} were sent, then AWS said: {error}."
                " Send it again: none is made twice.",
            ) from error
        rejected = _rejected_words(done, alone=len(possible) == 1)
        words = "shot already, here or in another tab. Nothing more was charged."
        if to_do:
            words = f"under way. The new images come in beside the present ones.{rejected}"
        elif rejected:
            words = f"sent already.{rejected}"
        what = f"{counted(len(possible), 'photo')}{looks.phrase(values)}"
        return JSONResponse({"message": f"{what}: {words}"})

    # --- taking away -----------------------------------------------------------------------

    async def archive(self, request: Request) -> Response:
        """Stream the selection's images as one zip."""
        body = await body_of(request, _MOST_BYTES)
        form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
        check_token(self._access, form.get("token", ""))
        ids = _ids(form.get("jobs", "").split(","))
        found = await run_in_threadpool(self._browser.some, ids)
        jobs = [found[job_id] for job_id in ids if job_id in found]
        name = f"catwalk-{len(jobs)}-selected.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(
            zipped(self._s3, jobs, named=jobs), media_type="application/zip", headers=headers
        )

    # --- comparing -------------------------------------------------------------------------

    def also(self, job: Job) -> list[dict[str, str]]:
        """Return the other jobs of a job's photo, as its page names them."""
        found = []
        others = [other for other in siblings(self._jobs, job) if other.settings is not None]
        names = Counter(model_of(other.settings.model_id) for other in others if other.settings)
        for other in others:
            assert other.settings is not None  # filtered above
            model = model_of(other.settings.model_id)
            same = job.settings is not None and model == model_of(job.settings.model_id)
            # A name alone says enough where the model differs.
            label = look_of(other.settings) if same or names[model] > 1 else model
            found.append(
                {
                    "label": label,
                    "url": job_url(other),
                    "status": "" if other.results else status_of(other).word,
                    "compare": f"{job_url(job)}/compare?with={other.job_id}"
                    if job.results and other.results
                    else "",
                }
            )
        return found

    def compare(self, request: Request) -> Response:
        """Show the results of two jobs side by side."""
        ids = _ids([request.path_params["job_id"], request.query_params.get("with", "")])
        if len(ids) == 1:
            raise HTTPException(
                HTTPStatus.BAD_REQUEST, "A comparison needs two jobs; the address names only one."
            )
        found = self._browser.some(ids)
        sides = []
        for job_id in ids:
            if job_id not in found:
                raise HTTPException(HTTPStatus.NOT_FOUND, f"There is no job {job_id!r}.")
            job = found[job_id]
            sides.append(
                {
                    "job": job,
                    "url": job_url(job),
                    "name": name_of(job),
                    "look": look_of(job.settings),
                    "card": self._show.card(job),
                    **reviews.shown(job),
                }
            )
        return self._render("compare.html", {"sides": sides, "token": self._access.form_token})


def _selected(document: Mapping[str, Any]) -> list[Selected]:
    """Read a selection.

    Raises:
        HTTPException: it is none, it is empty, or it is too large.

    """
    jobs = document.get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(each, dict) for each in jobs):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The request names no jobs.")
    ids = _ids([str(each.get("id", "")) for each in jobs])
    seen = {str(each.get("id", "")): str(each.get("seen", "")) for each in jobs}
    return [Selected(job_id, seen[job_id]) for job_id in ids]


def _ids(texts: Sequence[str]) -> list[str]:
    ids = [text for text in dict.fromkeys(texts) if text]
    if not ids:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The request names no jobs.")
    if len(ids) > MOST_SELECTED:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST,
            f"{len(ids)} jobs are selected; at most {MOST_SELECTED} can be handled at once.",
        )
    if any(len(each) > 64 or not each.isalnum() for each in ids):  # noqa: PLR2004 - no id is longer
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The request names what is no job's id.")
    return ids


def _matching_words(selected: int, total: int | None, *, exact: bool) -> str:
    if exact and total == selected:
        return f"All {selected} are selected." if selected != 1 else "The only one is selected."
    if total is None or total <= selected:
        return f"The newest {selected} are selected; there are more."
    return f"The newest {selected} of {'' if exact else 'at least '}{total:,} are selected."


def _changed(job: Job) -> Reviewed:
    """Return that a job is not as the page showed it."""
    review = job.review
    if review is None:
        return Reviewed(job, problem="have a new attempt; look again")
    verb = {
        ReviewState.APPROVED: "approved",
        ReviewState.REFUSED: "refused",
        ReviewState.TO_REVIEW: "marked images of" if review.marked else "reopened",
    }[review.state]
    return Reviewed(job, decided=f"{review.by} {verb}")


def _undoing(job: Job, before: Job) -> dict[str, Any]:
    """Return what `Selections.undo` needs to set a job's review back."""
    review = before.review
    return {
        "id": job.job_id,
        "seen": seen_of(job),
        "state": review.state.value if review else ReviewState.TO_REVIEW.value,
        "chosen": list(review.chosen) if review else [],
        "refused": list(review.refused) if review else [],
    }


def _earlier(entry: Mapping[str, Any]) -> _Decide:
    """Return the decision of an entry that `_undoing` made.

    Raises:
        HTTPException: it is no such entry.

    """
    state = next((state for state in ReviewState if state.value == entry.get("state")), None)
    marks = [entry.get("chosen"), entry.get("refused")]
    if state is None or not all(
        isinstance(numbers, list) and all(type(number) is int for number in numbers)
        for numbers in marks
    ):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The request names no earlier review.")
    chosen, refused = marks
    return lambda job: Decision.about(job, state, chosen=chosen or (), refused=refused or ())


def _review_words(outcomes: Sequence[Reviewed], word: str) -> str:
    """Return what became of decisions, in a few sentences."""
    saved = sum(each.saved for each in outcomes)
    words = [f"{saved or 'None'} {word}."]
    for decided, count in Counter(each.decided for each in outcomes if each.decided).items():
        words.append(f"{decided} {count} of them in the meantime; look again.")
    for problem, count in Counter(each.problem for each in outcomes if each.problem).items():
        verb, _, rest = problem.partition(" ")
        verb = {"have": "has", "are": "is"}.get(verb, verb) if count == 1 else verb
        words.append(f"{count} {verb} {rest}.")
    return " ".join(words)


def _nonces(document: Mapping[str, Any]) -> dict[str, str]:
    """Read the nonces of a quote, by job id; they are compared, and go nowhere else."""
    nonces = document.get("nonces")
    if not isinstance(nonces, dict):
        return {}
    return {str(job_id): str(nonce) for job_id, nonce in nonces.items()}


def _quoted(
    shots: Sequence[Shot], values: Mapping[str, Any], shooter: Shooter, *, chosen: int
) -> dict[str, Any]:
    """Return the price of shots of so many chosen jobs, and what stands in the way of some."""
    possible = [shot for shot in shots if shot.refusal is None]
    price = sum(shot.credits for shot in possible)
    refused = Counter(shot.refusal for shot in shots if shot.refusal is not None)
    return {
        "photos": len(possible),
        "credits": price,
        "price": credits_of(price),
        "nonces": {shot.job.job_id: shooter.nonce_of(shot) for shot in possible},
        "sentence": f"{counted(len(possible), 'photo')}{looks.phrase(values)}",
        "already": _already_words(possible),
        "once": "Some of the selected jobs are of the same photo. Each photo is shot once."
        if len(shots) < chosen
        else "",
        "refused": [
            {"why": why, "count": count} for why, count in refused.most_common(_MOST_NAMED)
        ],
        "refused_photos": len(shots) - len(possible),
    }


def _rejected_words(jobs: Sequence[Job], *, alone: bool) -> str:
    """Return why jobs of a form that was sent before were rejected; empty if none was.

    Args:
        jobs: what the form has made.
        alone: whether the form asks for one job only.

    """
    errors = [job.error for job in jobs if job.status is JobStatus.REJECTED and job.error]
    told = ""
    for message, count in Counter(error.message for error in errors).items():
        which = "It was" if alone else f"{count} of them {'was' if count == 1 else 'were'}"
        told += f" {which} rejected: {message}"
    if not told:
        return ""
    return f"{told} Nothing was charged for {'that' if len(errors) == 1 else 'these'}."


def _already_words(shots: Sequence[Shot]) -> str:
    """Return how many photos have a job with these settings; empty if none has."""
    known = sum(shot.already is not None for shot in shots)
    if not known:
        return ""
    if len(shots) == 1:
        return "This photo was shot with these settings before. You get new, different images."
    which = f"{known} of these photos were" if known > 1 else "One of these photos was"
    which = f"All {known} photos were" if known == len(shots) else which
    return f"{which} shot with these settings before. You get new, different images."
