"""The meaning of each answer to a create: one table, of which the first matching row counts.

docs/vendor-answers.md holds the same table; a test compares the two. A create costs a credit and
cannot be repeated safely. So the last row is "unknown": the request was sent, and the vendor may
have charged for it, whatever the answer says.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from shared.texts import REDACTED


class Trouble(StrEnum):
    """What a refusal is about."""

    REQUEST = "request"
    """This request; it would be refused again."""
    KEY = "key"
    """The API key is missing or refused."""
    CREDITS = "credits"
    """The account has no credits left."""
    DENIED = "denied"
    """The answer does not say whether the photo or the account is refused."""
    BUSY = "busy"
    """The vendor throttles or is down; the same request may succeed later."""
    ADDRESS = "address"
    """The answer is not from the vendor's API; `VmakeBaseUrl` may be wrong."""


ACCEPTED: Final = "accepted"
UNKNOWN: Final = "unknown"
Meaning = Literal["accepted", "unknown"] | Trouble


@dataclass(frozen=True)
class Answer:
    """The parts of an answer that the table reads."""

    status: int
    """The HTTP status."""
    code: int | None
    """The code of the vendor's envelope; None if there is no envelope."""
    message: str
    task_id: Literal["usable", "unusable", "none"] = "none"

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the error: the code, and the status unless it is 2xx."""
        numbers = set() if 200 <= self.status < 300 else {self.status}  # noqa: PLR2004  HTTP's
        return frozenset(numbers if self.code is None else numbers | {self.code})


WORDS: Final[dict[str, re.Pattern[str]]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "photo not fetched": (
            r"\b(images?|photos?|pictures?|masks?|urls?)\b.{0,20}\b(download|fetch|load|read)\w*\b"
            r".{0,20}\b(timeout|timed out|time out)\b"
            r"|\b(timeout|timed out|time out)\b.{0,20}\b(download|fetch|load|read)ing\b"
        ),
        "internal error": (
            r"\b(internal|system|server|service|unknown|unexpected|gateway)"
            r"(\s\w+)?\s(error|failure|fault|exception)\b"
            r"|\bexception\b|\bsomething went wrong\b|\b(timeout|timed out|time out)\b"
        ),
        "overload": (
            r"\boverload(ed|ing)?\b|\btoo busy\b|\b(at|no|over|out of) capacity\b"
            r"|\b(system|server|service)\s((is|currently|temporarily|too)\s)*"
            r"(busy|unavailable|down)\b"
        ),
        "no credits": (
            r"\b(insufficient|not enough|no|out of|lack of|low)\s"
            r"((remaining|available|account|api|your|more|credit)\s)*"
            r"(credits?|balance|quota|funds)\b"
            r"|\b(credits?|balance|quota|funds)\s((is|are|has|have|been)\s)*"
            r"(insufficient|not enough|exhausted|used up|exceeded|depleted|too low|empty)\b"
            r"|\bpayment required\b|\btop[\s-]?up\b|\brecharge\b"
            r"|\b(subscription|plan)\s((has|is)\s)?(expired|inactive|required)\b"
        ),
        "the API key": r"\bapi[\s-]?key\b",
        "authentication": r"\bunauthori[sz]ed\b|\bauthentication\b",
        "failed work": (
            r"\b(generation|processing|inference|task|job)\b.{0,20}\bfailed\b"
            r"|\bfailed to (generate|process|create|submit|run)\b"
        ),
        "the request": (
            r"\b(images?|photos?|pictures?|files?|masks?|models?|scenes?|param(eter)?s?|fields?"
            r"|arguments?|body|json|formats?|sizes?|resolution|pixels?|dimensions?|garments?"
            r"|cloth(es|ing)?|person|human|faces?|content|urls?|png|jpe?g|base64"
            r"|model ?ids?|scene ?(ids?|types?)|batch ?sizes?|colou?rs?)\b"
        ),
    }.items()
}
"""Whole phrases; upper and lower case are the same. URLs are removed from the message first, since
a photo may be named `no credits.jpg`."""

_URL: Final = re.compile(r"https?://\S+", re.IGNORECASE)
_BROKEN: Final = frozenset(range(500, 600)) - {503}
_NOT_THERE: Final = frozenset({404, 405, 410, 421})
_WRONG: Final = frozenset({400, 411, 413, 414, 415, 422, 431})


@dataclass(frozen=True)
class Row:
    """A row of the table: the conditions on an answer, and its meaning."""

    means: Meaning
    why: str
    numbers: frozenset[int] | None = None
    """The HTTP status (unless it is 2xx) or the envelope's code is one of these."""
    status: range | None = None
    """The HTTP status is in this range."""
    envelope: bool | None = None
    """Whether the answer has an envelope."""
    words: str | None = None
    """The message contains a phrase of this kind; see `WORDS`."""
    task_id: Literal["usable", "unusable"] | None = None

    def matches(self, answer: Answer) -> bool:
        """Whether an answer meets all conditions of the row."""
        return (
            (self.numbers is None or bool(self.numbers & answer.numbers))
            and (self.status is None or answer.status in self.status)
            and (self.envelope is None or self.envelope is (answer.code is not None))
            and (self.task_id is None or self.task_id == answer.task_id)
            and (self.words is None or WORDS[self.words].search(_plain(answer.message)) is not None)
        )


ROWS: Final = (
    Row(ACCEPTED, "`data` exists only on success", task_id="usable"),
    Row(UNKNOWN, "there is a task, but its id cannot be kept", task_id="unusable"),
    Row(UNKNOWN, "a redirect is not followed", status=range(300, 400)),
    Row(UNKNOWN, "the vendor's answer did not come", status=range(200, 300), envelope=False),
    Row(UNKNOWN, "it says success and names no task", numbers=frozenset({0})),
    Row(UNKNOWN, "an error after the request was taken in", numbers=_BROKEN),
    Row(UNKNOWN, "a gateway gave up on the vendor", numbers=frozenset({503}), envelope=False),
    Row(UNKNOWN, "the whole body was sent", numbers=frozenset({408})),
    Row(
        Trouble.REQUEST,
        "the vendor could not fetch the photo",
        numbers=_WRONG | _NOT_THERE,
        envelope=True,
        words="photo not fetched",
    ),
    Row(UNKNOWN, "an error after the request was taken in", words="internal error"),
    Row(Trouble.BUSY, "refused before any work", numbers=frozenset({425, 429})),
    Row(Trouble.BUSY, "the vendor's own: see decisions.md", numbers=frozenset({503})),
    Row(UNKNOWN, "too much work after the request was taken in", words="overload"),
    Row(Trouble.CREDITS, "it says so", words="no credits"),
    Row(Trouble.KEY, "it says so", words="the API key"),
    Row(Trouble.KEY, "it says so", numbers=frozenset({401, 403}), words="authentication"),
    Row(
        Trouble.DENIED,
        "number and words contradict each other",
        numbers=frozenset({401, 402}),
        words="the request",
    ),
    Row(Trouble.KEY, "unauthorized", numbers=frozenset({401})),
    Row(Trouble.CREDITS, "payment required", numbers=frozenset({402})),
    Row(Trouble.DENIED, "a firewall's page, or no reason given", numbers=frozenset({403})),
    Row(Trouble.ADDRESS, "no such API is there", numbers=_NOT_THERE, envelope=False),
    Row(Trouble.REQUEST, "the request is wrong", numbers=_WRONG),
    Row(UNKNOWN, "the vendor had begun", words="failed work"),
    Row(Trouble.REQUEST, "it says what is wrong with it", envelope=True, words="the request"),
    Row(Trouble.DENIED, "it does not say what is not there", numbers=_NOT_THERE),
    Row(UNKNOWN, "nothing above describes it"),
)


def meaning(answer: Answer) -> Meaning:
    """Return the meaning of an answer: that of the first row that matches."""
    return next(row.means for row in ROWS if row.matches(answer))


def _plain(message: str) -> str:
    """Return a message for the search of phrases: without URLs, with single spaces.

    The mark that replaces a quoted API key is removed too: such a message need not be about the
    key.
    """
    text = _URL.sub(" ", message).replace(REDACTED, " ").replace("_", " ")
    return " ".join(text.split())
