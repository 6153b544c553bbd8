"""Faulty answers: late, cut off, endless, missing, or contradictory."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from PIL import Image
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from local.simulator.contract import envelope, error
from local.simulator.faults import Fault

TRANSPORT: Final = "catwalk.transport"
"""The key of the connection's asyncio transport in the ASGI scope."""

_DRIPS: Final = 20
_FLOOD: Final = b"\0" * 65536
_GATEWAY_PAGE: Final = (
    "<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1>"
    "<p>The simulated gateway has no better answer.</p></body></html>"
)
_BEFORE_WORK: Final = frozenset({"drop_before", "status", "no_credits", "bad_key"})


async def client_left(receive: Receive, seconds: float) -> bool:
    """Wait until the client closes the connection; return False if it did not within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


class DroppedResponse(Response):
    """Closes the connection without sending a byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Close the connection and wait until it is closed: then the server expects no answer."""
        scope[TRANSPORT].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class LateResponse(Response):
    """Sends an answer after some seconds."""

    def __init__(self, answer: Response, seconds: float) -> None:
        """Send `answer` after `seconds`."""
        super().__init__(status_code=answer.status_code)
        self._answer = answer
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then answer if the client is still connected."""
        if not await client_left(receive, self._seconds):
            await self._answer(scope, receive, send)


class PartialResponse(Response):
    """Sends the headers and a part of an answer's body, slowly or cut off.

    The part takes `seconds`. If `fraction` is less than 1, the connection is closed after it.
    """

    def __init__(self, answer: Response, *, fraction: float = 1.0, seconds: float = 0.0) -> None:
        """Take body and headers of `answer`, including its Content-Length."""
        super().__init__(answer.body, answer.status_code)
        self.raw_headers = answer.raw_headers
        self._fraction = fraction
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part."""
        body = bytes(self.body)
        sent = body[: int(len(body) * self._fraction)]
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        step = max(1, -(-len(sent) // _DRIPS)) if self._seconds else max(1, len(sent))
        for start in range(0, len(sent), step):
            chunk = sent[start : start + step]
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if self._seconds and await client_left(receive, self._seconds * step / len(sent)):
                return
        if self._fraction == 1:
            await send({"type": "http.response.body", "body": b""})
        else:
            # Closing, unlike aborting, first sends what is buffered.
            scope[TRANSPORT].close()
            while (await receive())["type"] != "http.disconnect":
                pass


def does_no_work(fault: Fault) -> bool:
    """Return whether the vendor accepts and charges nothing with this fault."""
    return fault.name in _BEFORE_WORK or fault.params.get("accepted") is False


def no_credits(style: str) -> Response:
    """Answer that the balance is empty, in one of three plausible ways."""
    message = "insufficient credits: top up the balance of your account"
    if style == "200":
        return envelope(status=200, code=10402, message=message)
    return error(int(style), message)


def spoiled(
    fault: Fault, answer: Response, quotes: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return an answer with a fault.

    Args:
        fault: the fault.
        answer: the correct answer.
        quotes: the values of `{name}` in the fault's texts.

    """
    params = {
        name: quoting(value, quotes) if isinstance(value, str) else value
        for name, value in fault.params.items()
    }
    return _SPOILERS[fault.name](params, answer)


def quoting(text: str, quotes: Mapping[str, str]) -> str:
    """Replace each `{name}` in a text by its value."""
    for name, value in quotes.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _contradiction(params: dict[str, Any], _: Response) -> Response:
    data = {"taskId": params["task_id"]}
    return envelope(data, status=params["status"], code=params["code"], message=params["message"])


def _status(params: dict[str, Any], _: Response) -> Response:
    status, headers = params["status"], params["headers"]
    if params["raw"] is not None:
        return Response(params["raw"], status, headers, media_type="text/plain")
    code = status if params["code"] is None else params["code"]
    return envelope(status=status, code=code, message=params["message"], headers=headers)


def _garbage(params: dict[str, Any], answer: Response) -> Response:
    body = bytes(answer.body)
    match params["flavour"]:
        case "text":
            content = b"OK, done!"
        case "cut":
            content = body[: len(body) // 2]
        case "types":
            content = json.dumps({"code": "zero", "message": 7, "data": ["?"]}).encode()
        case _:
            content = json.dumps({"code": 0, "message": "Success"}).encode()
    return Response(content, media_type="application/json")


def expired() -> Response:
    """Answer that a download URL has expired."""
    return error(403, "this download URL has expired: read the task for a fresh one")


def _short_image(params: dict[str, Any], answer: Response) -> Response:
    body = bytes(answer.body)
    return _same_type(answer, body[: int(len(body) * params["fraction"])])


def _same_type(answer: Response, body: bytes) -> Response:
    return Response(body, media_type=answer.media_type)


def _other_format(name: str) -> bytes:
    if name == "html":
        return _GATEWAY_PAGE.encode()
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "#806040").save(picture, name)
    return picture.getvalue()


async def _flood(answer: Response, extra: int | None) -> AsyncIterator[bytes]:
    yield bytes(answer.body)
    left = extra
    while left is None or left > 0:
        chunk = _FLOOD if left is None else _FLOOD[:left]
        yield chunk
        left = None if left is None else left - len(chunk)
        # A client on the same machine reads fast. Let other requests run.
        await asyncio.sleep(0)


_SPOILERS: Final[dict[str, Callable[[dict[str, Any], Response], Response]]] = {
    "lost_response": lambda _, __: DroppedResponse(),
    "drop_before": lambda _, __: DroppedResponse(),
    "status": _status,
    "error_after_charge": lambda params, _: error(params["status"], params["message"]),
    "contradiction": _contradiction,
    "html": lambda params, _: HTMLResponse(_GATEWAY_PAGE, params["status"]),
    "garbage": _garbage,
    "slow": lambda params, answer: LateResponse(answer, params["seconds"]),
    "slow_body": lambda params, answer: PartialResponse(answer, seconds=params["seconds"]),
    "no_credits": lambda params, _: no_credits(params["style"]),
    "bad_key": lambda _, __: error(401, "the API key in the header X-Api-Key is not valid"),
    "redirect": lambda params, _: RedirectResponse(params["location"], params["status"]),
    "empty": lambda params, answer: Response(
        status_code=params["status"], media_type=answer.media_type
    ),
    "truncated": lambda params, answer: PartialResponse(answer, fraction=params["fraction"]),
    "oversize": lambda params, answer: StreamingResponse(
        _flood(answer, params["bytes"]), media_type=answer.media_type
    ),
    "short_image": _short_image,
    "wrong_type": lambda params, answer: _same_type(answer, _other_format(params["format"])),
    "expired_url": lambda _, __: expired(),
}
