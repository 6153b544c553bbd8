"""Requests that change something: their bodies, read to a limit, and what they are answered.

`cli.gallery.access.Guard` has checked the session and the origin. Here the form token is checked:
only this session's pages know it.
"""

import functools
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from cli.errors import CommandError
from cli.gallery.access import Access
from shared.errors import InputRejected

TOKEN_HEADER: Final = "x-catwalk-token"  # noqa: S105 - the name of a header, not its value
_OLD_FORM: Final = "This page is of an earlier gallery; load it anew."

Handler = Callable[[Request], Awaitable[Response]]


async def body_of(request: Request, most: int) -> bytes:
    """Return a request's body.

    Raises:
        HTTPException: it is longer than `most` bytes.

    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That is more than the gallery takes at once."
            )
    return body


async def document_of(request: Request, access: Access, *, most: int) -> dict[str, Any]:
    """Return the JSON object that a page's script sent, with the token in a header.

    Raises:
        HTTPException: no page of this session sent it, it is too long, or no JSON object.

    """
    check_token(access, request.headers.get(TOKEN_HEADER, ""))
    try:
        document = json.loads(await body_of(request, most))
    except (ValueError, RecursionError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from error
    if not isinstance(document, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body is not a JSON object.")
    return document


def check_token(access: Access, token: str) -> None:
    """Check that one of this session's pages made a request.

    Raises:
        HTTPException: none did.

    """
    if not access.made_form(token):
        raise HTTPException(HTTPStatus.FORBIDDEN, _OLD_FORM)


def answered(handler: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """Have a method's troubles answered in JSON, as `message`: a script shows them."""

    @functools.wraps(handler)
    async def wrapped(self: object, request: Request) -> Response:
        try:
            return await handler(self, request)
        except HTTPException as error:
            return _said(error.status_code, error.detail)
        except CommandError as error:
            return _said(HTTPStatus.BAD_REQUEST, f"{error} {error.next_step or ''}".strip())
        except InputRejected as error:
            return _said(HTTPStatus.UNPROCESSABLE_ENTITY, error.message)
        except ClientDisconnect:
            # Nobody reads this answer. What has arrived so far is kept.
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except (ClientError, BotoCoreError) as error:
            return _said(HTTPStatus.BAD_GATEWAY, refusal_of(error))

    return wrapped


def trouble_of(error: Exception) -> tuple[str, str]:
    """Return what is wrong with AWS, in a person's words, and what to do."""
    code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
    if code.startswith(("Expired", "InvalidClientToken", "UnrecognizedClient")):
        advice = "Sign in again, then try again. `catwalk doctor` says more."
        return "Your sign-in to AWS has ended", advice
    if code.startswith(("AccessDenied", "Unauthorized")):
        return (
            "You may not do this here",
            "Ask the person who runs this stack for the rights; docs/use-a-stack.md lists them.",
        )
    return (
        "The stack cannot be reached",
        "Nothing is lost. Check the network, then try again. `catwalk doctor` says more.",
    )


def refusal_of(error: ClientError | BotoCoreError) -> str:
    """Return the same as sentences of one line, with AWS's word for it."""
    text, advice = trouble_of(error)
    code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
    return f"{text}. {advice}{f' AWS says: {code}.' if code else ''}"


def _said(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)
