"""What the tests of the `openai:` model share: short waits, nothing left behind, plain questions.

The two fixtures are autouse: they apply in every test file that imports them.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_openai_server import FakeServer, Reply, Request

from harness.find import make_model
from harness.models import _http
from harness.models.openai import Served
from harness.types import Answer, Decoding, Failure, Sample

GREEDY = Decoding()
JPEG = b"\xff\xd8\xff\xe0 not decoded"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(_http, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(_http, "MOST_WAIT", 0.05)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No thread survives, and no socket or coroutine is left to the garbage collector."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    gc.collect()  # a ResourceWarning here is an error


def model(server: FakeServer, **options: Any) -> Served:
    made = make_model("openai:m", {"base_url": server.url, **options})
    assert isinstance(made, Served)
    return made


def questions(n: int) -> list[Sample]:
    return [Sample(id=f"s{i}", prompt=(f"q{i}",)) for i in range(n)]


def ask(
    server: FakeServer, samples: list[Sample], decoding: Decoding = GREEDY, **options: Any
) -> dict[int, Answer | Failure]:
    """Ask for text; every position is answered exactly once."""
    replies = list(model(server, **options).answer(samples, "generate", decoding))
    assert sorted(position for position, _ in replies) == list(range(len(samples)))
    return dict(replies)


def always(body: Any, **more: Any) -> Callable[[Request], Reply]:
    return lambda _: Reply(body, **more)


class Says:
    """Equals any Answer with this text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and other.text == self.text
