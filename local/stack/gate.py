"""A gate before MiniStack that admits only requests signed with this stack's credentials.

MiniStack accepts the key id `test`, any account number and even unsigned requests as the account's
root. And it derives the functions' credentials from their names, which can be guessed. So without
the gate, every process that reaches the port could run code on this machine and read the vendor's
key.

The gate runs in MiniStack's process, on its interpreter: see `local.stack.ministack`.
"""

import hashlib
import hmac
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs, quote

from local.stack import put_events, unpacking

HEALTH: Final = "/_ministack/health"
"""The gate answers this path without a signature; the answer says only that the local AWS is up."""
_CONTROLS: Final = ("/_ministack", "/_localstack", "/_aws")
"""MiniStack's own paths, for which it checks no permissions."""
_SIGV4: Final = "AWS4-HMAC-SHA256"
_WEEK: Final = 7 * 24 * 3600
_ADVICE: Final = (
    "The local AWS accepts only signed requests: source .catwalk/env.sh for this stack's"
    " credentials. Each start makes new ones."
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RefusedError(Exception):
    """A request is not admitted; the message says why."""

    def __init__(self, message: str, code: str = "UnrecognizedClientException") -> None:
        super().__init__(f"{message} {_ADVICE}")
        self.code = code


def make_app() -> App:
    """Return MiniStack behind the gate."""
    _make_role_secrets_unguessable()
    put_events.install()
    unpacking.install()
    from ministack.app import app  # noqa: PLC0415  after the changes above

    return gate(app)


def gate(app: App) -> App:
    """Return an app that forwards only correctly signed requests."""

    async def gated(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            # Catwalk uses none.
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == HEALTH:
            await _answer(send, 200, b"application/json", b"{}")
        else:
            await _checked(app, scope, receive, send)

    return gated


async def _checked(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    request = None
    try:
        request = Request(scope)
        request.identify()
        body = await _body(receive)
        if body is None:
            return
        request.verify(body)
    except RefusedError as error:
        await _refuse(send, error, request)
        return

    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    await app(scope, receive_again, send)


class Request:
    """A request and its signature."""

    def __init__(self, scope: Scope) -> None:
        """Read the request in the same way as MiniStack.

        Raises:
            RefusedError: it has no signature, or more than one.

        """
        from ministack.core import sigv4  # noqa: PLC0415  MiniStack's interpreter alone has it

        self._method = scope["method"]
        self._controls = scope["path"].startswith(_CONTROLS)
        self._path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
        self.headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name, text = raw.decode("latin-1").lower(), sigv4.decode_header_value(value)
            joined = name in self.headers
            if joined and name in {"authorization", "host"}:
                raise RefusedError(f"The request has more than one {name} header.")
            self.headers[name] = f"{self.headers[name]},{text}" if joined else text
        try:
            query = scope.get("query_string", b"").decode()
        except UnicodeDecodeError:
            raise RefusedError("The query string is not UTF-8.") from None
        self._query: Mapping[str, list[str]] = parse_qs(query, keep_blank_values=True)
        names = {name.lower() for name in self._query}
        in_query = not names.isdisjoint({"x-amz-signature", "x-amz-credential", "awsaccesskeyid"})
        in_header = "authorization" in self.headers
        if in_query == in_header:
            raise RefusedError(
                "The request is signed twice." if in_header else "The request is not signed.",
                "MissingAuthenticationToken",
            )
        self.presigned = in_query
        if self.presigned:
            parts = sigv4.parse_query_signature(self._query)
            algorithm = self._query.get("X-Amz-Algorithm", [""])[0]
        else:
            parts = sigv4.parse_header_signature(self.headers)
            algorithm = self.headers["authorization"].partition(" ")[0]
        if isinstance(parts, tuple) or algorithm != _SIGV4:
            raise RefusedError(f"The request has no whole {_SIGV4} signature.")
        self.signature = parts

    def identify(self) -> None:
        """Find the secret of the credential that the request names.

        Raises:
            RefusedError: the credential is not one of this stack, or has expired.

        """
        # MiniStack's interpreter alone has it.
        from ministack.core import iam_evaluator, responses, router  # noqa: PLC0415

        key = self.signature.access_key_id
        # MiniStack must use the same credential that is verified here.
        if router.extract_access_key_id(self.headers, self._query) != key:
            raise RefusedError("The request names more than one credential.")
        if hmac.compare_digest(key.encode(), os.environ["AWS_ACCESS_KEY_ID"].encode()):
            self._secret = os.environ["AWS_SECRET_ACCESS_KEY"]
            return
        if iam_evaluator.is_root_access_key(key):
            raise RefusedError("The credential is not one of this stack.")
        if self._controls:
            raise RefusedError("A role may not use MiniStack's own controls.", "AccessDenied")
        token = (
            self._query.get("X-Amz-Security-Token", [""])[0]
            if self.presigned
            else self.headers.get("x-amz-security-token", "")
        )
        # A role's session knows its account; a user's key is one of the stack's only account.
        account = responses._account_from_sts_session(key) or responses.get_account_id()  # noqa: SLF001
        credential = iam_evaluator.resolve_credential(key, account, token)
        if isinstance(credential, iam_evaluator.CredentialResolutionError):
            raise RefusedError("The credential is not one of this stack.", credential.code)
        self._secret = credential.secret_access_key

    def verify(self, body: bytes) -> None:
        """Check the signature, the headers that it covers, and its age.

        Raises:
            RefusedError: the signature is wrong, too old, or covers too little.

        """
        from ministack.core import sigv4  # noqa: PLC0415  MiniStack's interpreter alone has it

        covered = set(self.signature.signed_headers.split(";"))
        needed = {name for name in self.headers if name.startswith("x-amz-")} | {"host"}
        if not needed <= covered:
            missing = ", ".join(sorted(needed - covered))
            raise RefusedError(f"The signature does not cover {missing}.", "AccessDenied")
        if self.presigned:
            self._check_presigned(body)
        elif failure := sigv4.request_time_failure(self.signature):
            raise RefusedError(failure[1], failure[0])
        failure = sigv4.header_signature_failure(
            self.signature,
            self._secret,
            self._method,
            self._path,
            self._query,
            self.headers,
            body,
            presigned=self.presigned,
        )
        if failure:
            raise RefusedError("The signature is wrong.", failure[0])

    def _check_presigned(self, body: bytes) -> None:
        """Check that a presigned URL only reads an object and has not expired."""
        from ministack.core import sigv4  # noqa: PLC0415  MiniStack's interpreter alone has it

        # Method and body are checked, since a presigned signature does not cover the body.
        if self.signature.service != "s3" or self._method not in {"GET", "HEAD"} or body:
            raise RefusedError("A presigned URL can only read an object.", "AccessDenied")
        try:
            seconds = int(self._query["X-Amz-Expires"][0])
            expired = sigv4.presigned_request_is_expired(self.signature.amz_date, seconds)
        except (KeyError, ValueError):
            expired = True
        if expired or not 0 < seconds <= _WEEK:
            raise RefusedError("The presigned URL has expired.", "AccessDenied")


def _make_role_secrets_unguessable() -> None:
    """Mix the stack's secret into the credentials that MiniStack gives to functions.

    MiniStack derives them only from the names of function and role. This function can be removed
    once MiniStack makes them at random: see `execution_credentials` in
    ministack/core/lambda_runtime.py.
    """
    # MiniStack's interpreter alone has it.
    from ministack.core import lambda_runtime  # noqa: PLC0415
    from ministack.services import sts  # noqa: PLC0415

    if "ministack.services.lambda_svc" in sys.modules:
        raise RuntimeError("MiniStack's functions already have guessable credentials.")
    original, register = lambda_runtime.execution_credentials, sts.register_session
    stack_secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for_function = ContextVar("for_function", default=False)

    def made(key: str, what: str) -> str:
        return hmac.new(stack_secret, f"{what} {key}".encode(), hashlib.sha256).hexdigest()

    def register_session(key: str, session: dict[str, Any]) -> None:
        if for_function.get():
            secrets = {name: made(key, name) for name in ("SecretAccessKey", "SessionToken")}
            session = {**session, **secrets}
        register(key, session)

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        token = for_function.set(True)
        try:
            given = original(config)
        finally:
            for_function.reset(token)
        key = given["AWS_ACCESS_KEY_ID"]
        return {
            **given,
            "AWS_SECRET_ACCESS_KEY": made(key, "SecretAccessKey"),
            "AWS_SESSION_TOKEN": made(key, "SessionToken"),
        }

    sts.register_session = register_session
    lambda_runtime.execution_credentials = execution_credentials


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body; None if the client has disconnected."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(send: Send, error: RefusedError, request: Request | None) -> None:
    """Answer in a form that AWS clients can read."""
    code, message = error.code, str(error)
    headers = request.headers if request else {}
    service = request.signature.service if request else "s3"
    if service == "s3" or "x-www-form-urlencoded" in headers.get("content-type", ""):
        text = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        if service != "s3":
            text = f"<ErrorResponse>{text}</ErrorResponse>"
        await _answer(send, 403, b"application/xml", text.encode())
    else:
        text = json.dumps({"__type": code, "message": message})
        await _answer(send, 403, b"application/json", text.encode(), (b"x-amzn-errortype", code))


async def _answer(
    send: Send, status: int, kind: bytes, body: bytes, *more: tuple[bytes, str]
) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        *((name, value.encode()) for name, value in more),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
