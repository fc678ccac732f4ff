"""A real HTTP server on 127.0.0.1 that speaks chat completions and misbehaves as told.

In a test: `with FakeServer(behave) as server: ... server.url`, where `behave(request)` returns a
Reply. By hand or for a benchmark, in a process of its own:

    python tests/fake_openai_server.py --latency 0.05      # prints its base URL, serves until ^C
"""

import argparse
import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request as it arrived."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: Any
    arrived: float
    together: int
    """Requests that are being answered, this one included."""

    @property
    def text(self) -> str:
        """The text parts of the last message, joined."""
        content = self.body["messages"][-1]["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        return "".join(part.get("text", "") for part in parts)


@dataclass
class Reply:
    """What to send, when, and how much of it."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    """Send this many bytes of the body, then reset the connection."""


Behave = Callable[[Request], Reply]


def says(text: str | None, **more: Any) -> dict[str, Any]:
    """Make the body of a good reply; `more` replaces or adds keys of the choice."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}} | more
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return {
        "id": "1",
        "object": "chat.completion",
        "model": "fake-2026",
        "system_fingerprint": "fp_1",
        "choices": [choice],
        "usage": usage,
    }


def echo(request: Request) -> Reply:
    """Answer with the question, so that a test sees whose answer it got."""
    return Reply(says(f"re: {request.text}"))


class FakeServer:
    """Serves in a background thread while the `with` block runs."""

    def __init__(self, behave: Behave = echo) -> None:
        self.behave = behave
        self.requests: list[Request] = []
        self.peak = 0
        self.url = ""
        self._together = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake")

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._thread.join()

    def kill(self) -> None:
        """Stop listening and cut every connection, as a crash would. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, limit=2**20, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for _ in range(5):  # connections that were just being accepted turn up a little later
            for writer in list(self._writers):
                _reset(writer)
            await asyncio.sleep(0.01)
        # asyncio.run cancels the conversations that are left

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        self._together += 1
        self.peak = max(self.peak, self._together)
        try:
            path = head[0].split(" ")[1]
            request = Request(
                *(len(self.requests), path, headers, json.loads(raw)),
                *(time.monotonic(), self._together),
            )
            self.requests.append(request)
            reply = self.behave(request)
            await asyncio.sleep(reply.delay)
        finally:
            self._together -= 1
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"Content-Type": "application/json", **reply.headers}
        more = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        writer.write(
            f"HTTP/1.1 {reply.status} Whatever\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode(
                "latin-1"
            )
            + body[: reply.cut]
        )
        await writer.drain()
        if reply.cut is not None:
            await asyncio.sleep(0.01)
            _reset(writer)
            return False
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, as a dying process or a firewall does."""
    if writer.is_closing():
        return
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def main() -> None:
    """Serve "yes" after --latency seconds until interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    latency = parser.parse_args().latency
    server = FakeServer(lambda _: Reply(says("yes"), delay=latency))
    with server:
        print(server.url, flush=True)
        try:
            while True:
                time.sleep(1)
                server.requests.clear()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
