"""Many requests at once from a plain generator: pacing, patience, and a clean end.

A background thread runs an event loop; replies come back through a queue as soon as each is
ready. How many requests are out at once adapts to the server: quick growth until the first sign of
crowding, then additive increase and halving (Chiu and Jain 1989, as in TCP). Waits between
attempts double with full jitter. Knows nothing about any API; imports the standard library and
harness.types only.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from harness.types import Answer, Failure, Reply

T = TypeVar("T")
Work = Callable[[int], Awaitable[Answer | Failure]]

FIRST_LIMIT, MOST_LIMIT = 8, 256
FIRST_WAIT, MOST_WAIT = 0.5, 60.0
"""Seconds: the upper end of the first wait between attempts, and of any."""
MOST_RETRY_AFTER = 120.0
"""Seconds: a server that asks for a longer wait is asked again after this."""
QUEUING = 4.0
"""Latency this many times the best means that requests queue somewhere: no more growth. A batching
server's latency rises with load while its throughput still rises too, hence not 1."""
BACKLOG = 512
"""Replies that nobody has fetched yet before no new request is started."""


class Retry(Exception):
    """This attempt came to nothing and another may not."""

    def __init__(self, reason: str, after: float | None = None, crowded: bool = False) -> None:
        """Say why, how many seconds the server asked to wait, and whether it is overloaded."""
        super().__init__(reason)
        self.after, self.crowded = after, crowded


class Exhausted(Exception):
    """All attempts came to nothing."""


class Pace:
    """How many requests may be out at once. Used from one event loop at a time."""

    def __init__(self, fixed: int = 0) -> None:
        """Adapt between 1 and 256, or between 1 and `fixed` starting there."""
        self.most = fixed or MOST_LIMIT
        self.limit = float(fixed or FIRST_LIMIT)
        self.peak = 0
        self._growing = True
        self.begin()

    def begin(self) -> None:
        """Forget what belongs to one event loop and one kind of request; keep the limit."""
        self.running = 0
        self.changed = asyncio.Event()
        self._latency = 0.0
        self._best = float("inf")
        self._cut_at = 0.0
        self._paused_until = 0.0

    @property
    def width(self) -> int:
        """Requests that may be out now."""
        return int(self.limit)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until the server may be asked, and count as one request meanwhile."""
        while True:
            pause = self._paused_until - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self.running >= self.width:
                self.changed.clear()
                await self.changed.wait()
            else:
                break
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            yield
        finally:
            self.running -= 1
            self.changed.set()

    def succeeded(self, seconds: float) -> None:
        """Note a reply; widen when the width was in use and the server does not queue."""
        self._latency = 0.9 * self._latency + 0.1 * seconds if self._latency else seconds
        self._best = min(self._best, self._latency)
        if self.running * 2 >= self.limit and self._latency <= QUEUING * self._best:
            self.limit = min(self.most, self.limit + (1.0 if self._growing else 1 / self.limit))

    def crowded(self, started: float, pause: float) -> None:
        """Halve, once for all requests that were out together; let everybody wait `pause` s."""
        now = time.monotonic()
        self._paused_until = max(self._paused_until, now + pause)
        if started >= self._cut_at:
            self.limit = max(1.0, min(self.limit, self.running) / 2)
            self._cut_at, self._growing = now, False


async def persist(attempt: Callable[[], Awaitable[T]], pace: Pace, retries: int) -> T:
    """Await `attempt()` until it does not raise Retry, at most 1 + `retries` times.

    Raises Exhausted with the last reason; every other exception passes through.
    """
    trial = 0
    while True:
        async with pace.slot():
            started = time.monotonic()
            try:
                result = await attempt()
            except Retry as error:
                problem = error
                if problem.crowded:
                    pace.crowded(started, problem.after or 0.0)
            else:
                pace.succeeded(time.monotonic() - started)
                return result
        if trial >= retries:
            raise Exhausted(f"{problem} (attempts: {trial + 1})") from problem
        wait = random.uniform(0.0, min(MOST_WAIT, FIRST_WAIT * 2**trial))
        await asyncio.sleep(max(wait, problem.after or 0.0))
        trial += 1


def retry_after(milliseconds: str | None, value: str | None) -> float | None:
    """Seconds to wait from the headers `retry-after-ms` and `retry-after` (seconds or a date).

    None when there is none or it makes no sense; never more than MOST_RETRY_AFTER.
    """
    for text, unit in ((milliseconds, 1000.0), (value, 1.0)):
        with suppress(TypeError, ValueError):
            seconds = float(text or "") / unit
            if seconds >= 0:  # false for nan
                return min(seconds, MOST_RETRY_AFTER)
    with suppress(TypeError, ValueError, OverflowError):
        seconds = parsedate_to_datetime(value or "").timestamp() - time.time()
        return min(max(seconds, 0.0), MOST_RETRY_AFTER)
    return None


def stream(
    order: Sequence[int],
    session: Callable[[], AbstractAsyncContextManager[Work]],
    pace: Pace,
) -> Iterator[Reply]:
    """Yield (position, answer) for each position of `order`, as soon as each is ready.

    `session` is entered in the background thread and yields the coroutine function that answers
    one position; what it raises is raised here, after the replies that came before it. Closing
    the generator cancels what is out and ends the thread.
    """
    background = _Background(order, session, pace)
    background.start()
    try:
        while True:
            item = background.out.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        background.close()


class _Background(Thread):
    """Runs all requests of one `stream`; its last word in `out` is None or an exception."""

    def __init__(
        self,
        order: Sequence[int],
        session: Callable[[], AbstractAsyncContextManager[Work]],
        pace: Pace,
    ) -> None:
        # A daemon: a generator that was dropped half way must not keep the process alive.
        super().__init__(name="sightline-requests", daemon=True)
        self.out: SimpleQueue[Reply | BaseException | None] = SimpleQueue()
        self._order, self._session, self._pace = order, session, pace
        self._ready = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Run the event loop to its end."""
        last: BaseException | None = None
        try:
            asyncio.run(self._main())
        except BaseException as error:  # handed to the thread that asked, which raises it
            last = error
            while isinstance(last, BaseExceptionGroup):
                last = last.exceptions[0]
        finally:
            self._ready.set()
            self.out.put(last)

    def close(self) -> None:
        """Cancel what is out and wait for the end of the thread."""
        self._ready.wait()
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.join()

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._ready.set()
        pace = self._pace
        pace.begin()
        alive = 0

        async def one(position: int, work: Work) -> None:
            nonlocal alive
            try:
                self.out.put((position, await work(position)))
            finally:
                alive -= 1
                pace.changed.set()

        async with self._session() as work, asyncio.TaskGroup() as group:
            for position in self._order:
                # A sample that waits for another attempt counts: it holds its images.
                while alive >= pace.width:
                    pace.changed.clear()
                    await pace.changed.wait()
                while self.out.qsize() >= BACKLOG:
                    await asyncio.sleep(0.02)
                alive += 1
                group.create_task(one(position, work))
