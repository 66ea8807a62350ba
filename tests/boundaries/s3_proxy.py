"""A real S3 server, and proxies in front of it that treat requests as networks and stores do on bad days.

They live in a process of their own, so that a suite may fork: `store` starts it and hands out its proxies.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

BUCKET = "faults"
_PATIENCE = 60.0
_REFUSALS = {
    "slow down": (503, "SlowDown", "Please reduce your request rate."),
    "internal": (500, "InternalError", "We encountered an internal error. Please try again."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation is in progress."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
}
_NEWEST = re.compile(rb"<Contents>(?:(?!</Contents>).)*</Contents>(?!.*<Contents>)", re.DOTALL)


@dataclass
class Fault:
    """What happens to requests. `kind`: a key of `_REFUSALS`, or

    `refuse`: nobody listens. `hang`: accepted, never answered. `cut`: the connection ends instead of an answer.
    `lost answer`, `late answer`: done, and then the connection ends, at once or when the client has given up.
    `truncated`: the answer breaks off. `empty`: an answer without a body. `half`: half a body that looks whole.
    `stale`: a listing without its last object.
    """

    kind: str
    method: str = ""
    """GET, PUT …; empty: any."""
    part: str = ""
    """What path and query contain."""
    skip: int = 0
    """So many requests are spared first."""
    times: int = 1 << 30
    """How often it strikes."""
    without: str = ""
    """What path and query must not contain."""


class Proxy:
    """A proxy of the store's process, from outside of it."""

    def __init__(self, process: subprocess.Popen[str], name: str, token: str, page: int) -> None:
        self._process = process
        self._name = name
        self.endpoint = str(self._say(open=True, token=token, page=page))

    def set(self, *faults: Fault) -> None:
        """From now on these, and no others: the first that fits a request strikes. None: all is well."""
        self._say(faults=[asdict(fault) for fault in faults])

    def accept(self, token: str) -> None:
        """From now on only requests with this session token."""
        self._say(token=token)

    def struck(self) -> Counter[str]:
        """How often each kind has struck since the beginning, and `requests`: how many there were."""
        return Counter(self._say())

    def _say(self, **what: object) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"name": self._name, **what}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Store:
    """The S3 server's own address, without faults, and its proxies."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.endpoint: str = json.loads(process.stdout.readline())

    def proxy(self, name: str, *, token: str = "", page: int = 0) -> Proxy:
        """Another proxy. `token`: as for `accept`. `page`: objects in a page of a listing, 0 as the server has it."""
        return Proxy(self._process, name, token, page)


@contextmanager
def store() -> Iterator[Store]:
    """A running store with an empty bucket."""
    command = [sys.executable, "-m", "tests.boundaries.s3_proxy"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Store(process)
        finally:
            process.terminate()


class _Server(ThreadingHTTPServer):
    """One proxy."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, upstream: str, token: str, page: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.upstream, self.token, self.page = upstream, token, page
        self.faults: list[Fault] = []
        self.changed = threading.Event()
        self.struck: Counter[str] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def change(self, faults: list[Fault]) -> None:
        """Who hangs is let go."""
        with self.lock:
            self.faults, before, self.changed = faults, self.changed, threading.Event()
        before.set()

    def choose(self, method: str, path: str, token: str) -> tuple[str, threading.Event]:
        """What happens to this request ("" for nothing), and what a hanging one waits for."""
        with self.lock:
            self.struck["requests"] += 1
            if self.token and token != self.token:
                return self._strike("expired")
            for fault in self.faults:
                fits = fault.method in ("", method) and fault.part in path
                if fits and not (fault.without and fault.without in path) and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return self._strike(fault.kind)
        return "", self.changed

    def _strike(self, kind: str) -> tuple[str, threading.Event]:
        if kind != "stale":
            self.struck[kind] += 1
        return kind, self.changed

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that have gone are nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def handle_any(self) -> None:
        """Forward, unless a fault strikes."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, changed = self.server.choose(self.command, self.path, self.headers.get("X-Amz-Security-Token", ""))
        if kind in _REFUSALS:
            status, code, message = _REFUSALS[kind]
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            self._answer(status, [("Content-Type", "application/xml")], text.encode())
            return
        if kind in ("hang", "cut", "refuse"):
            self._leave(changed if kind == "hang" else None)
            return
        status, headers, content = self._forward(body)
        if kind in ("lost answer", "late answer"):
            self._leave(changed if kind == "late answer" else None)
        elif kind == "stale":
            ends = b"<IsTruncated>false" in content
            fresh = _NEWEST.sub(b"", content) if ends else content
            with self.server.lock:
                self.server.struck["stale"] += fresh != content
            self._answer(status, headers, fresh)
        elif kind in ("empty", "half"):
            self._answer(status, headers, content[: len(content) // 2 if kind == "half" else 0])
        else:
            self._answer(status, headers, content, cut=kind == "truncated")

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = handle_any

    def handle_expect_100(self) -> bool:
        """Without the flush the client would wait a second for it."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        path = self.path
        if self.server.page and "list-type=2" in path:
            path = re.sub(r"&max-keys=\d+", "", path) + f"&max-keys={self.server.page}"
        there = http.client.HTTPConnection(self.server.upstream, timeout=_PATIENCE)
        try:
            there.request(self.command, path, body, dict(self.headers.items()))
            answer = there.getresponse()
            kept = ("content-length", "transfer-encoding", "connection", "date", "server")
            return answer.status, [h for h in answer.getheaders() if h[0].lower() not in kept], answer.read()
        finally:
            there.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def _leave(self, until: threading.Event | None) -> None:
        if until is not None:
            until.wait(_PATIENCE)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _serve() -> None:
    """Answers the suite's orders, a JSON line each, until there are no more."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106
    ).create_bucket(Bucket=BUCKET)
    _say(endpoint)
    servers: dict[str, _Server] = {}
    for line in sys.stdin:
        _say(_obey(servers, json.loads(line), urlsplit(endpoint).netloc))


def _obey(servers: dict[str, _Server], order: dict[str, Any], upstream: str) -> object:
    name = order["name"]
    if "open" in order:
        servers[name] = _Server(0, upstream, order["token"], order["page"])
        return f"http://127.0.0.1:{servers[name].server_port}"
    server = servers[name]
    if "faults" in order:
        faults = [Fault(**one) for one in order["faults"]]
        deaf, listens = any(one.kind == "refuse" for one in faults), server.fileno() >= 0
        if listens == deaf:
            servers[name] = server = _turned(server, listens=listens, upstream=upstream)
        server.change(faults)
    elif "token" in order:
        server.token = order["token"]
    return server.struck


def _turned(server: _Server, *, listens: bool, upstream: str) -> _Server:
    """A server that listened closes its door (connections that are open are cut at their next request); or again."""
    if listens:
        server.shutdown()
        server.server_close()
        return server
    again = _Server(server.server_port, upstream, server.token, server.page)
    again.struck = server.struck
    return again


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
