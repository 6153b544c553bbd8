"""The client of the vendor's API: creates tasks and reads them.

`shared.vmake.outcomes` lists the outcomes. None of them is an exception. Only a stack that is set
up wrongly raises.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from ipaddress import IPv4Network, ip_address
from typing import Final, Literal, Self
from urllib.parse import quote

import httpx

from shared.clock import utc_now
from shared.errors import ConfigurationError
from shared.models import Settings
from shared.texts import cleaned
from shared.transport import BoundedTransport, decoded
from shared.vmake import answers, wire
from shared.vmake.answers import Trouble
from shared.vmake.outcomes import (
    Accepted,
    CreateOutcome,
    NeverSent,
    ReadTrouble,
    Refused,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    TaskRead,
    Unknown,
)

CREATE_TIMEOUT: Final = httpx.Timeout(connect=5, read=30, write=30, pool=5)
"""Seconds. The read timeout is long, since a create that times out is an unknown submit."""
READ_TIMEOUT: Final = httpx.Timeout(connect=5, read=15, write=5, pool=5)
"""Seconds. A read that times out does no harm: the next poll reads again."""
MAX_ANSWER_BYTES: Final = 1024 * 1024
CREATE_SECONDS: Final = 75.0
"""For a whole create, from the look-up of the name to the last byte. SubmitFunction begins a photo
only if it has `ENOUGH_SECONDS` left."""
READ_SECONDS: Final = 30.0
"""For a whole read. PollFunction's timeout is 60 s."""
MAX_BODY_SECONDS: Final = 15.0
"""An answer is cut off after this time. It has a few hundred bytes; the timeouts above are for each
piece of it, and a slow answer must not use up the invocation."""
_THIS_MACHINE: Final = frozenset({"localhost", "host.docker.internal"})
"""Names of the machine itself. A container calls its machine by the second one."""
_DOCKER_BRIDGE: Final = IPv4Network("172.17.0.0/16")
"""Docker's default network between a machine and its containers."""


@dataclass(frozen=True)
class PreparedCreate:
    """A create that is ready to be sent. Its headers hold the API key, so `repr` hides it."""

    request: httpx.Request = field(repr=False)


class VmakeClient:
    """A client of the vendor's API for one base URL."""

    def __init__(
        self,
        base_url: str,
        api_key: Callable[[], str],
        *,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Make a client; no connection is made yet.

        Args:
            base_url: the vendor's origin, e.g. `https://open.vmake.ai`.
            api_key: called for the key before each request, so that a new key is used at once.
            transport: replaces the network in tests.
            now: the clock, for a `Retry-After` that is a date.

        Raises:
            ConfigurationError: the base URL cannot be used, or would expose the key.

        """
        _check_base_url(base_url)
        self._api_key = api_key
        self._now = now
        self._base_url = base_url
        self._transport = transport

    @cached_property
    def _create_http(self) -> httpx.Client:
        # A create always uses a new connection. If the vendor closed a reused one at that moment,
        # the submit would be unknown. Reads reuse connections.
        return self._http(CREATE_TIMEOUT, CREATE_SECONDS, max_keepalive=0)

    @cached_property
    def _read_http(self) -> httpx.Client:
        return self._http(READ_TIMEOUT, READ_SECONDS)

    def make_for_creates(self) -> None:
        """Make the HTTP client for creates before the first one; no connection is made."""
        self._create_http  # noqa: B018  the property keeps it

    def make_for_reads(self) -> None:
        """Make the HTTP client for reads before the first one; no connection is made."""
        self._read_http  # noqa: B018  the property keeps it

    def _http(
        self, timeout: httpx.Timeout, seconds: float, max_keepalive: int | None = None
    ) -> httpx.Client:
        return httpx.Client(
            base_url=self._base_url,
            timeout=timeout,
            transport=self._transport or BoundedTransport(seconds, max_keepalive=max_keepalive),
            # A proxy from the environment would receive the key.
            trust_env=False,
            headers={
                "User-Agent": "catwalk",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
        )

    def __enter__(self) -> Self:
        """Return the client; its connections are closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for made in ("_create_http", "_read_http"):
            if made in self.__dict__:
                self.__dict__[made].close()

    def prepare_create(self, *, image: str, mask: str | None, settings: Settings) -> PreparedCreate:
        """Make the request for a task. Each failure that costs nothing happens here.

        Args:
            image: the photo's URL, or its bytes in base64.
            mask: the mask's URL or base64, or None.
            settings: the variant to make.

        """
        return PreparedCreate(
            self._create_http.build_request(
                "POST",
                wire.TASKS_PATH,
                json=wire.create_body(image, mask, settings),
                headers=self._key_header(),
            )
        )

    def create_task(self, prepared: PreparedCreate) -> CreateOutcome:
        """Ask for a task. Each call may cost a credit."""
        try:
            answer = _send(self._create_http, prepared.request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            name = _name(error, prepared.request)
            return NeverSent(f"no connection to the vendor: {name}")
        except httpx.RequestError as error:
            name = _name(error, prepared.request)
            return Unknown(f"the connection failed after the request was sent: {name}")
        return self._create_outcome(answer)

    def read_task(self, task_id: str) -> TaskRead:
        """Read a task. Free of charge."""
        request = self._read_http.build_request(
            "GET", f"{wire.TASKS_PATH}/{quote(task_id, safe='')}", headers=self._key_header()
        )
        try:
            answer = _send(self._read_http, request)
        except httpx.RequestError as error:
            return ReadTrouble(f"the vendor could not be reached: {_name(error, request)}")
        envelope = answer.envelope
        # A gateway's own 404 page, without the envelope, says nothing about the task.
        if envelope is not None and httpx.codes.NOT_FOUND in {answer.status, envelope.code}:
            return TaskNotFound(envelope.message or "the vendor does not know the task")
        task = None
        code = envelope.code if envelope is not None else 0
        if answer.status == httpx.codes.OK and envelope is not None and envelope.code == 0:
            task = wire.task_of(envelope.data)
        if task is None:
            return ReadTrouble(
                answer.said,
                self._retry_after(answer),
                key_refused=answer.status == httpx.codes.UNAUTHORIZED,
                throttled=httpx.codes.TOO_MANY_REQUESTS in {answer.status, code},
            )
        match task.status:
            case "success":
                return TaskDone(task.task_results())
            case "error":
                return TaskFailed(task.message or "the vendor gave no reason")
            case status:
                return TaskOngoing(status, task.progress)

    def _key_header(self) -> dict[str, str]:
        return {"X-Api-Key": self._api_key()}

    def _create_outcome(self, answer: "_Answer") -> CreateOutcome:
        match answers.meaning(answer.read):
            case answers.ACCEPTED if answer.created.task_id is not None:
                return Accepted(answer.created.task_id)
            case Trouble.ADDRESS:
                said = f"{answer.said}; is VmakeBaseUrl the vendor's API?"
                return Refused(Trouble.ADDRESS, said, self._retry_after(answer))
            case Trouble() as trouble:
                return Refused(trouble, answer.said, self._retry_after(answer))
            case _:
                return Unknown(answer.said)

    def _retry_after(self, answer: "_Answer") -> float | None:
        text = answer.retry_after.strip()
        if re.fullmatch(r"[0-9]{1,9}", text):
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        # The parser raises errors of many types for a date with values out of range.
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return max(0.0, (moment - self._now()).total_seconds()) if moment.tzinfo else None


def _check_base_url(url: str) -> None:
    """Check that `VmakeBaseUrl` can be used and that requests to it do not expose the API key.

    Raises:
        ConfigurationError: it is no http(s) URL, has a user name, or is http to another machine.

    """
    try:
        parsed = httpx.URL(url)
    except Exception as error:
        # httpx and idna raise errors of many types for a text that is no URL.
        raise ConfigurationError(f"VmakeBaseUrl {url!r} is no URL: {error}. Correct it.") from error
    host = parsed.raw_host.decode("ascii")
    if parsed.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"VmakeBaseUrl {url!r} is no http(s) URL; correct it.")
    if parsed.userinfo:
        raise ConfigurationError("VmakeBaseUrl has a user name; give a URL without one.")
    if parsed.scheme == "http" and not _is_this_machine(host):
        raise ConfigurationError(
            f"VmakeBaseUrl {url!r} would send the API key in clear; use https. http is for a vendor"
            " on this machine (localhost, 127.0.0.1, host.docker.internal)."
        )


def _is_this_machine(host: str) -> bool:
    if host in _THIS_MACHINE:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address in _DOCKER_BRIDGE


@dataclass(frozen=True)
class _Answer:
    """The parts of a response that are used."""

    status: int
    retry_after: str
    envelope: wire.Envelope | None
    created: wire.Created

    @property
    def read(self) -> answers.Answer:
        """The answer in the form of the table of meanings."""
        envelope, created = self.envelope, self.created
        without: Literal["unusable", "none"] = "unusable" if created.unusable else "none"
        return answers.Answer(
            status=self.status,
            code=envelope.code if envelope else None,
            message=envelope.message if envelope else "",
            task_id="usable" if created.task_id is not None else without,
        )

    @property
    def said(self) -> str:
        """The answer in words, for logs and records."""
        unusable = " (with a task id that cannot be kept)" if self.created.unusable else ""
        if self.envelope is None:
            return f"HTTP {self.status} without the vendor's envelope{unusable}"
        message = self.envelope.message or "no message"
        return f"HTTP {self.status}, code {self.envelope.code}: {message}{unusable}"


def _send(client: httpx.Client, request: httpx.Request) -> _Answer:
    """Send a request and read at most `MAX_ANSWER_BYTES` of the answer.

    Raises:
        httpx.RequestError: no response was received. A body that breaks off raises nothing: the
            status may already say that the request was refused, and the beginning of the body may
            name a task.

    """
    response = client.send(request, stream=True)
    body = bytearray()
    deadline = time.monotonic() + MAX_BODY_SECONDS
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    # httpx would decode the body without a limit on the decoded size.
    chunks = response.iter_raw() if encoding else response.iter_bytes()
    try:
        for chunk in chunks:
            body += chunk
            if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                break
    except httpx.RequestError:
        pass  # the bytes received so far are used
    finally:
        response.close()
    body[:] = decoded(bytes(body), encoding, MAX_ANSWER_BYTES)
    # A vendor may quote the refused key in its message, which goes into logs and records.
    hidden = request.headers["X-Api-Key"]
    return _Answer(
        status=response.status_code,
        retry_after=response.headers.get("Retry-After", ""),
        envelope=wire.envelope_of(bytes(body), hidden=hidden),
        created=wire.created_of(bytes(body), hidden=hidden),
    )


def _name(error: httpx.RequestError, request: httpx.Request) -> str:
    """Return an error's type and cleaned text, which may repeat the answer or the request."""
    text = cleaned(str(error), hidden=request.headers["X-Api-Key"])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
