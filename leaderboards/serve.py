"""A board on this machine that follows a folder in which runs are still being made.

Every request looks at the run folders again and makes the page anew where something changed. Runs
that cannot be shown yet are named on the page with the reason. Nothing is written, only 127.0.0.1
is listened on, and only requests that name this machine are answered (a page elsewhere cannot read
it through a name of its own). Standard library besides leaderboards/build.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from harness import store
from harness.errors import SightlineError, UsageError
from leaderboards.build import Extras, identity, render_runs
from reports._page_read import Run, opened

HOST = "127.0.0.1"
_WATCHED = ("run.json", "rows.jsonl", "derived.jsonl", "verdicts.jsonl", "rows.parquet")

Signature = tuple[tuple[str, int, int], ...]


class Live:
    """The page of some places, made again when a run folder in them changes."""

    def __init__(
        self,
        places: Sequence[Path | str],
        baseline: Path | str | None = None,
        extras: Extras | None = None,
    ) -> None:
        """Take run folders, folders of them and addresses of stores; they may still be empty."""
        self.places = [store.as_path(place) for place in places]
        self.baseline = None if baseline is None else store.as_path(baseline)
        self.extras = extras or Extras()
        self._lock = Lock()
        self._runs: dict[Path, tuple[Signature, Run | str]] = {}
        self._page: tuple[object, str] | None = None

    def page(self) -> str:
        """Return the page as the folders are now."""
        with self._lock:
            found = {folder: _signature(folder) for folder in self._folders()}
            key = tuple(sorted(found.items())), self._blessed()
            if self._page is None or self._page[0] != key:
                self._page = key, self._render(found)
            return self._page[1]

    def _blessed(self) -> Signature:
        """Return what changes when a baseline is blessed or a waiver is given."""
        home = self.extras.history
        paths = [*home.rglob("*.json"), *home.glob("waivers.jsonl")] if home else []
        stats = ((str(path), path.stat()) for path in sorted(paths))
        return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)

    def _folders(self) -> list[Path]:
        places = [*self.places, *([self.baseline] if self.baseline else [])]
        local = [place for place in places if isinstance(place, Path)]
        here = [place for place in local if (place / "run.json").exists()]
        inside = [path.parent for place in local for path in place.glob("*/run.json")]
        kept = [store.fetch(address) for place in places for address in store.runs(place)]
        return sorted({folder.resolve() for folder in [*here, *inside, *kept]})

    def _render(self, found: dict[Path, Signature]) -> str:
        for folder, signature in found.items():
            if folder not in self._runs or self._runs[folder][0] != signature:
                self._runs[folder] = signature, _opened(folder)
        self._runs = {folder: self._runs[folder] for folder in found}
        runs: dict[str, Run] = {}
        left_out = []
        for _, run in self._runs.values():
            if isinstance(run, str):
                left_out.append(run)
            elif identity(run) in runs:
                left_out.append(f"{run.record.folder}: a copy of another folder")
            else:
                runs[identity(run)] = run
        base = self._runs.get(store.local(self.baseline).resolve()) if self.baseline else None
        own = base[1] if base and isinstance(base[1], Run) else None
        shown = list(runs.values())
        try:
            return render_runs(shown, own, left_out, self.extras)
        except SightlineError as error:  # a label or a baseline of what is not there yet
            less = replace(self.extras, labels=(), history=None)
            return render_runs(shown, own, [*left_out, str(error)], less)


def _signature(folder: Path) -> Signature:
    found = []
    for name in _WATCHED:
        try:
            stat = (folder / name).stat()
        except OSError:
            continue  # not written yet
        found.append((name, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _opened(folder: Path) -> Run | str:
    try:
        return opened(folder)
    except SightlineError as error:
        return str(error)


def server(live: Live, port: int) -> ThreadingHTTPServer:
    """Return a server of the page that is listening. Raises UsageError for a port in use."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            local = (self.headers.get("Host") or "").partition(":")[0] in (HOST, "localhost")
            if not local or self.path.partition("?")[0] != "/":
                self.send_error(404 if local else 421)
                return
            body = live.page().encode("utf-8")
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal belongs to whoever started the server."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise UsageError(f"--port {port}: cannot be listened on: {error.strerror}") from error
