"""Fewer garbage collections while a hundred thousand questions are made that all stay alive.

Python looks through all objects again and again while many are created; loading a benchmark spends
a third of its time there and finds nothing. Inside `seldom` it looks a hundred times less often.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seldom() -> Iterator[None]:
    """Collect a hundred times less often; the setting before is put back."""
    before = gc.get_threshold()
    gc.set_threshold(100 * before[0] or 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
