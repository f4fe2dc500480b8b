"""The report of a run under way, at an address of this machine: open pages are told when there is something new.

Served by the standard library from the process of the command, which otherwise waits. What a page shows is made from
the run directory, and only when a page asks for it.
"""

from __future__ import annotations

import contextlib
import functools
import html
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from report.page import View, page
from report.run_report import report_view
from skysplit.live.live_status import live_status

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.5
_SILENT_S = 15.0  # then a comment in the stream of events finds out whether the page is still there
_TIMEOUT_S = 10.0  # for open pages to show the end of the run
_SCRIPT = """
// What is new takes the place of what was there, but charts stay, as they were zoomed and turned.
function show(view) {
  const focus = document.activeElement.id, top = scrollY, page = document.getElementById("page");
  const open = [...page.querySelectorAll("details[open] > summary")].map(one => one.textContent);
  const next = new DOMParser().parseFromString(view.body, "text/html").body;
  const before = names();
  for (const place of next.querySelectorAll(".figure, .when")) {
    const shown = document.getElementById(place.id);
    if (shown) place.replaceWith(shown);
  }
  for (const summary of next.querySelectorAll("summary"))
    summary.parentElement.open = open.includes(summary.textContent);
  page.replaceChildren(...next.childNodes);
  document.title = view.title;
  figures = view.figures;
  scrollTo({ top, behavior: "instant" });
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  for (const name of names())
    if (isDrawn(name)) draw(name);
    else if (!before.includes(name)) near.observe(document.getElementById(name));
}
const said = document.createElement("p"), events = new EventSource("events");
said.id = "live";
said.setAttribute("role", "status");
const now = document.createElement("div"), live = document.createElement("section");
now.id = "now";
live.setAttribute("aria-label", "Now");
live.append(said, now);
document.body.prepend(live);
let following = true, timer, asking;
async function ask() {
  try {
    const markup = await (await fetch("now")).text();
    if (now.dataset.shown === markup) return;
    const shut = [...now.querySelectorAll("details:not([open]) > summary")].map(one => one.textContent);
    now.innerHTML = now.dataset.shown = markup;
    for (const one of now.querySelectorAll("summary")) one.parentElement.open = !shut.includes(one.textContent);
  } catch { }
}
function follow() {
  asking = ask().then(() => { if (following) timer = setTimeout(follow, 1000); });
}
follow();
let work = Promise.resolve();
async function refresh(latest) {
  if (latest === version) return;
  show(await (await fetch("view")).json());
  version = latest;
}
events.onopen = () => { said.textContent = "This page follows the run."; };
events.onerror = () => { said.textContent = "No connection to the run: this is what was last known."; };
events.onmessage = event => { work = work.then(() => refresh(event.data)); };
events.addEventListener("over", event => {
  following = false;
  clearTimeout(timer);
  work = work.then(() => refresh(event.data)).then(() => asking).then(ask);
  work.finally(() => { events.close(); said.textContent = "The run is over."; });
});
"""


class LivePage:
    """A server as a context manager; where the block ends, open pages show the last state of the run.

    Args:
        directory: The run directory; there may be nothing in it yet.
        title: Of the page as long as there is nothing.
    """

    def __init__(self, directory: Path, title: str) -> None:
        self._directory = directory
        self._title = title
        self._over = threading.Event()
        self._streams = 0
        self._fewer_streams = threading.Condition()
        self._server = ThreadingHTTPServer((_LOOPBACK, 0), functools.partial(_Answer, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,))

    @property
    def address(self) -> str:
        """Return the address of the page."""
        return f"http://{_LOOPBACK}:{self._server.server_port}/"

    def version(self) -> str:
        """Return a token that changes whenever the page does: ``run.json`` is always written last."""
        try:
            return str((self._directory / "run.json").stat().st_mtime_ns)
        except FileNotFoundError:
            return ""

    def view(self) -> View:
        """The report now, or that there is none yet."""
        try:
            return report_view(self._directory)
        except FileNotFoundError:
            heading = f"<h1>{html.escape(self._title)}</h1><p>Starting: contact plan, Flower.</p>"
            return View(self._title, f"<header>{heading}</header>", figures={})

    def now(self) -> str:
        """Markup of what the run does at this moment, between two versions of the report."""
        return live_status(self._directory)

    def changes(self) -> Iterator[str]:
        """The version now and whenever it changes, to the end of the block; an empty one after a silence."""
        known, silent_s = "", 0.0
        while not self._over.is_set():
            version = self.version()
            if version != known or silent_s >= _SILENT_S:
                yield version if version != known else ""
                known, silent_s = version, 0.0
            silent_s += _POLL_S
            self._over.wait(_POLL_S)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """A stream to an open page, which the end of the block waits for."""
        with self._fewer_streams:
            self._streams += 1
        try:
            yield
        finally:
            with self._fewer_streams:
                self._streams -= 1
                self._fewer_streams.notify_all()

    def stay(self) -> None:
        """Serve until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._fewer_streams:
            self._fewer_streams.wait_for(lambda: not self._streams, timeout=_TIMEOUT_S)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Answer(BaseHTTPRequestHandler):
    """What a browser asks for: the page, what it shows now, the stream of changes."""

    def __init__(self, live: LivePage, *connection: Any) -> None:
        self._live = live
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer, unless the browser was led here by a name of somebody else's."""
        answer = {"/": self._page, "/view": self._view, "/now": self._now, "/events": self._events}.get(
            self.path
        )
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif self.headers.get("Host", "").rpartition(":")[0] not in (_LOOPBACK, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
        else:
            with contextlib.suppress(ConnectionError, TimeoutError):  # the browser went away
                answer()

    def log_message(self, *_: Any) -> None:
        """Keep the terminal to the progress of the run."""

    def _page(self) -> None:
        known = f"let version = {json.dumps(self._live.version())};"
        self._send("text/html", page(self._live.view(), known + _SCRIPT))

    def _view(self) -> None:
        view = self._live.view()
        words = json.dumps(view.title), json.dumps(view.body), view.figures_json()
        self._send("application/json", '{{"title": {}, "body": {}, "figures": {{{}}}}}'.format(*words))

    def _now(self) -> None:
        self._send("text/html", self._live.now())

    def _send(self, kind: str, text: str) -> None:
        self._start(kind)
        self.wfile.write(text.encode())

    def _events(self) -> None:
        self._start("text/event-stream")
        with self._live.streaming():
            for version in self._live.changes():
                self._write_event(f"data: {version}" if version else ": still here")
            self._write_event(f"event: over\ndata: {self._live.version()}")
            self.connection.settimeout(_TIMEOUT_S)
            self.rfile.read(1)  # nothing, once the page has shown the end and closes the stream

    def _write_event(self, event: str) -> None:
        self.wfile.write(f"{event}\n\n".encode())

    def _start(self, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
