"""Work ahead of the model: images are read, decoded and preprocessed while it computes.

Threads, because decoding releases the interpreter lock and tensors need no copy to come back.
Results arrive in the order of the items, so they do not depend on the number of workers. Imports
only the standard library.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T], workers: int, depth: int) -> Iterator[R]:
    """Yield `work(item)` for all items in order, at most `depth` of them ahead of the reader.

    Args:
        work: May run in another thread; what it raises is raised here, in its place.
        items: Read in the caller's thread.
        workers: Threads; 0 works in the caller's thread when the reader asks.
        depth: How many results may wait, which bounds the memory that they take.
    """
    if workers <= 0:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= max(depth, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
