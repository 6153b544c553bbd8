"""A stub of AWS and of the vendor in one server, which notes the time of each request.

It implements only what one invocation of each function needs, and checks nothing.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.paths import SAMPLES

PHOTO = (SAMPLES / "dress.jpg").read_bytes()
TASK_ID = "0f1c2d3e-4b5a-4697-8877-6655443322ff"
_NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
_NO_VERSIONS = b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>"
_ETAG = {"ETag": '"d41f8a7c1e0b4a56b1f5f6a4f0c1b2a3"'}


class Stub(ThreadingHTTPServer):
    """The server. `items` is the table, by `pk`; `asked_at` are moments of `perf_counter`.

    It answers at once, or after `aws_seconds` and `vendor_seconds`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.items: dict[str, dict[str, Any]] = {}
        self.asked_at: list[float] = []
        self.aws_seconds = self.vendor_seconds = 0.0


@contextmanager
def stub() -> Iterator[Stub]:
    """Run the stub on a free port of loopback."""
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one piece each: a second one would wait for an acknowledgement
    server: Stub

    def handle_any(self) -> None:
        self.server.asked_at.append(time.perf_counter())
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        vendors = self.path.startswith(("/api/", "/result"))
        time.sleep(self.server.vendor_seconds if vendors else self.server.aws_seconds)
        operation = self.headers.get("X-Amz-Target", "").partition(".")[2]
        if operation:
            answer = _aws(operation, json.loads(body), self.server.items)
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        elif self.path.startswith("/api/"):
            self._send(200, json.dumps(_vendor(self.command)).encode(), {})
        elif self.path.startswith("/result") or ".jpg" in self.path:
            kind = {"Content-Type": "image/jpeg", **_ETAG}
            self._send(200, PHOTO if self.command == "GET" else b"", kind)
        elif "versions" in self.path:
            self._send(200, _NO_VERSIONS, {})
        else:
            self._send(404, _NO_SUCH_KEY, {})

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815  http.server's names

    def handle_expect_100(self) -> bool:
        """Request the body (100 Continue); the client would otherwise wait for a second."""
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _vendor(method: str) -> dict[str, Any]:
    created = {"taskId": TASK_ID}
    running = {"taskId": TASK_ID, "status": "running", "progress": 40}
    return {"code": 0, "message": "", "data": created if method == "POST" else running}


def _aws(operation: str, asked: dict[str, Any], items: dict[str, dict[str, Any]]) -> dict[str, Any]:
    match operation:
        case "GetSecretValue":
            return {"SecretString": "key"}
        case "StartExecution":
            return {"executionArn": "arn:aws:states:::execution", "startDate": 0}
        case "PutEvents":
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
        case "GetItem":
            item = items.get(asked["Key"]["pk"]["S"])
            return {} if item is None else {"Item": item}
        case "PutItem":
            items[asked["Item"]["pk"]["S"]] = asked["Item"]
            return {}
        case "UpdateItem":
            item = items.setdefault(asked["Key"]["pk"]["S"], {})
            names = asked.get("ExpressionAttributeNames", {})
            values = asked["ExpressionAttributeValues"]
            for name, value in re.findall(r"(#?\w+) = (:\w+)", asked["UpdateExpression"]):
                item[names.get(name, name)] = values[value]
            return {"Attributes": item}
        case "Query":
            return {"Items": [], "Count": 0}
    return {}
