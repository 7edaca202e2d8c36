"""A small Hugging Face hub on loopback: revisions, file sizes with LFS checksums, ranges; and its bad days."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """What the server serves; tests change it between requests.

    Attributes:
        repo: OWNER/NAME of the only repository.
        commits: files by path, by commit; branch names in ``branches`` lead to one.
        branches: commit by branch name.
        announced: size and SHA-256 to state for a path instead of the true ones.
        breaks: how many bytes of a path to send before the connection is cut, once.
        stalls: how many bytes of a path to send before sending nothing more.
        token: what the Authorization header must carry; empty: nothing.
        error: status and X-Error-Code of every answer; 0: none.
        page: HTML to answer everything with, as a login page does.
        requests: method, path and Range of every request so far.
    """

    repo: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    announced: dict[str, tuple[int, str]] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    token: str = ""
    error: tuple[int, str] = (0, "")
    page: bytes = b""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def commit(self, files: dict[str, bytes]) -> str:
        """Put these files on main; returns the commit."""
        name = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name] = files
        self.branches["main"] = name
        return name

    def downloads(self) -> list[str]:
        """Paths of the files that were asked for, in order."""
        return [path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]


@contextmanager
def running_hub(repo: str) -> Iterator[Hub]:
    """Serve a hub until the block ends."""
    hub = Hub(repo)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, hub)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(request: BaseHTTPRequestHandler, hub: Hub) -> None:
    path = unquote(urlsplit(request.path).path)
    hub.requests.append((request.command, path, request.headers.get("Range", "")))
    if hub.page:
        _send(request, 200, hub.page, {"Content-Type": "text/html"})
    elif hub.error[0]:
        _send(request, hub.error[0], b"{}", {"X-Error-Code": hub.error[1]} if hub.error[1] else {})
    elif hub.token and request.headers.get("Authorization") != f"Bearer {hub.token}":
        _send(request, 401, b"{}", {})
    elif path.startswith("/api/models/"):
        _answer_model(request, hub, path.removeprefix("/api/models/"))
    else:
        _answer_file(request, hub, path.removeprefix("/"))


def _answer_model(request: BaseHTTPRequestHandler, hub: Hub, rest: str) -> None:
    repo, _, revision = rest.partition("/revision/")
    if repo != hub.repo:
        _send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        return
    commit = hub.branches.get(revision or "main", revision)
    if commit not in hub.commits:
        _send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return
    siblings = [_sibling(hub, path, data) for path, data in hub.commits[commit].items()]
    body = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings}
    _send(request, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _sibling(hub: Hub, path: str, data: bytes) -> dict[str, object]:
    size, sha256 = hub.announced.get(path, (len(data), hashlib.sha256(data).hexdigest()))
    described: dict[str, object] = {"rfilename": path, "size": size, "blobId": hashlib.sha1(data).hexdigest()}
    if path.endswith(".pth") and sha256:
        described["lfs"] = {"size": size, "sha256": sha256, "pointerSize": 134}
    return described


def _answer_file(request: BaseHTTPRequestHandler, hub: Hub, rest: str) -> None:
    repo, _, below = rest.partition("/resolve/")
    commit, _, path = below.partition("/")
    files = hub.commits.get(hub.branches.get(commit, commit), {})
    if repo != hub.repo or path not in files:
        _send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
        return
    data = files[path]
    wanted = request.headers.get("Range", "")
    start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
    headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    cut = hub.stalls.get(path, hub.breaks.pop(path, None))
    _send(request, 206 if wanted else 200, data[start:], headers, cut)
    if path in hub.stalls:
        request.wfile.flush()
        hub.closing.wait()


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body[:cut])
    if cut is not None:
        request.close_connection = True
