"""The `openai:` model against a real HTTP server that fails, lies, stalls and dies."""

import gc
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from fake_openai_server import FakeServer, Reply, Request, echo, says
from openai_cases import (
    GREEDY,
    JPEG,
    Says,
    always,
    ask,
    model,
    nothing_left,
    questions,
    short_waits,
)

from harness.errors import RunStopped, UsageError
from harness.models import _http
from harness.models._http import retry_after
from harness.types import Failure, Image, Sample

FIXTURES = (short_waits, nothing_left)
KEY = "sk-test-0123456789abcdef"


# What goes wrong ---------------------------------------------------------------------------


def _first_then_good(first: Reply) -> Callable[[Request], Reply]:
    return lambda request: first if request.number == 0 else echo(request)


@pytest.mark.parametrize(
    "first",
    [
        *(Reply({"error": {"message": "x"}}, status=s) for s in (408, 409, 429, 500, 502, 503)),
        Reply(says("never read"), cut=20),
        Reply(says("too late"), delay=1.5),
        Reply(b"<html>gateway</html>"),
        Reply(b'{"choices": [{"mess'),
        Reply(b"[1, 2]"),
        Reply({}),
        Reply({"choices": []}),
        Reply({"choices": [{"message": None}]}),
        Reply({"error": {"message": "upstream went away"}}),
        Reply(says("x", finish_reason="error")),
        Reply(b"[" * 200_000),
    ],
    ids=lambda r: f"{r.status}-{r.cut}-{r.delay}-{str(r.body)[:20]}",
)
def test_what_may_pass_is_tried_again(first: Reply) -> None:
    with FakeServer(_first_then_good(first)) as server:
        timeout = 1.0 if first.delay else 60.0
        assert ask(server, questions(1), timeout=timeout) == {0: Says("re: q0")}
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "headers", "least"),
    [
        (429, lambda: {"Retry-After": "1"}, 1.0),
        (500, lambda: {"retry-after-ms": "700", "Retry-After": "60"}, 0.7),
        # A date has whole seconds: 3 s ahead is more than 2 s away.
        (503, lambda: {"Retry-After": formatdate(time.time() + 3, usegmt=True)}, 1.9),
    ],
    ids=["seconds", "milliseconds", "date"],
)
def test_nobody_asks_before_retry_after(status: int, headers: Any, least: float) -> None:
    def behave(request: Request) -> Reply:
        if request.number:
            return echo(request)
        return Reply({"error": {"message": "slow down"}}, status=status, headers=headers())

    with FakeServer(behave) as server:
        ask(server, questions(3), concurrency=1)
    refused, *later = server.requests
    assert len(later) == 3
    assert min(request.arrived for request in later) - refused.arrived >= least


def test_a_rate_limit_holds_for_all_requests() -> None:
    def behave(request: Request) -> Reply:
        if request.number == 8:
            return Reply({"error": "x"}, status=429, headers={"Retry-After": "2"})
        return Reply(says("x"), delay=0.05)

    with FakeServer(behave) as server:
        ask(server, questions(60), concurrency=4)
    after = [request.arrived - server.requests[8].arrived for request in server.requests]
    assert not [seconds for seconds in after if 1.0 < seconds < 2.0]
    assert [seconds for seconds in after if seconds >= 2.0]


def test_retry_after_reads_what_servers_write() -> None:
    assert retry_after(None, "7") == 7
    assert retry_after("250", "7") == 0.25
    assert retry_after("rubbish", "7") == 7
    assert retry_after(None, "86400") == _http.MOST_RETRY_AFTER
    assert retry_after(None, "Fri, 01 Jan 2100 00:00:00 GMT") == _http.MOST_RETRY_AFTER
    assert retry_after(None, "Fri, 01 Jan 1999 00:00:00 GMT") == 0
    for nothing in (None, "", "soon", "nan", "-3"):
        assert retry_after(None, nothing) is None


def test_attempts_end_and_the_failure_says_why() -> None:
    with FakeServer(always({"error": {"message": "no \x1b[31mGPU\nleft"}}, status=500)) as server:
        failure = ask(server, questions(1), retries=2)[0]
    assert len(server.requests) == 3
    assert failure == Failure("HTTP 500: no [31mGPU left (attempts: 3)")


@pytest.mark.parametrize(("status", "hint"), [(401, "api_key_env"), (403, "name"), (404, "/v1")])
def test_a_wrong_key_or_name_ends_the_run_without_showing_the_key(
    status: int, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    error = {"message": f"Incorrect API key provided: {KEY}, also {KEY[:12]}****cdef."}
    with FakeServer(always({"error": error}, status=status)) as server:
        served = model(server, api_key_env="MY_KEY", concurrency=2)
        with pytest.raises(UsageError) as caught:
            list(served.answer(questions(50), "generate", GREEDY))
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert len(server.requests) <= 2
    assert hint in str(caught.value) and server.url in str(caught.value)
    for text in (str(caught.value), repr(served), json.dumps(served.describe())):
        assert KEY not in text and KEY[:12] not in text


def test_the_key_does_not_reach_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FakeServer(always(says(f"your key is {KEY}"))) as server:
        assert ask(server, questions(1)) == {0: Says("your key is [key]")}


def test_a_key_that_is_withdrawn_on_the_way_stops_a_run_that_can_be_resumed() -> None:
    def behave(request: Request) -> Reply:
        return echo(request) if request.number < 5 else Reply({"error": "no"}, status=401)

    with FakeServer(behave) as server:
        replies = model(server, concurrency=1).answer(questions(20), "generate", GREEDY)
        got = [next(replies) for _ in range(5)]
        with pytest.raises(RunStopped, match="--resume"):
            next(replies)
    assert [position for position, _ in got] == [0, 1, 2, 3, 4]


def test_a_used_up_quota_is_not_waited_for() -> None:
    error = {"message": "You exceeded your quota", "code": "insufficient_quota"}
    with (
        FakeServer(always({"error": error}, status=429)) as server,
        pytest.raises(UsageError, match="quota"),
    ):
        ask(server, questions(5), concurrency=1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
def test_one_refused_sample_is_one_failure(status: int) -> None:
    message = "image \x00too\x1b[2J large " + "x" * 5000

    def behave(request: Request) -> Reply:
        bad = Reply({"error": {"message": message}}, status=status)
        return bad if request.text == "q3" else echo(request)

    with FakeServer(behave) as server:
        answers = ask(server, questions(8), concurrency=1)
    failure = answers.pop(3)
    assert isinstance(failure, Failure) and failure.kind == "failed"
    assert failure.error.startswith(f"HTTP {status}: image too [2J large xxx")
    assert failure.error.isprintable() and len(failure.error) < 450
    assert answers == {i: Says(f"re: q{i}") for i in answers}
    assert len(server.requests) == 8


def test_a_model_that_refuses_everything_stops_early() -> None:
    error = {"message": "'temperature' does not support 0 with this model"}
    with (
        FakeServer(always({"error": error}, status=400)) as server,
        pytest.raises(RunStopped, match=r"temperature.*extra_body"),
    ):
        ask(server, questions(500))
    assert len(server.requests) < 60


def test_an_image_that_cannot_be_read_is_one_failure(tmp_path: Path) -> None:
    samples = questions(4)
    samples[1] = Sample("gone", (Image("gone.jpg", tmp_path / "gone.jpg"), "q"))
    samples[2] = Sample("bad", (Image("bad.bmp", b"not an image"), "q"))
    with FakeServer() as server:
        answers = ask(server, samples)
    assert isinstance(answers[1], Failure) and "gone.jpg" in answers[1].error
    assert isinstance(answers[2], Failure) and "bad.bmp" in answers[2].error
    assert answers[0] == Says("re: q0") and answers[3] == Says("re: q3")


def test_a_prompt_that_is_not_unicode_is_one_failure() -> None:
    samples = [*questions(2), Sample("s", ("\udcff",))]
    with FakeServer() as server:
        answers = ask(server, samples)
    assert isinstance(answers[2], Failure) and "Unicode" in answers[2].error
    assert answers[1] == Says("re: q1")


def test_a_server_that_dies_stops_the_run() -> None:
    def behave(request: Request) -> Reply:
        if request.number == 40:
            server.kill()
        return echo(request)

    got = []
    with FakeServer(behave) as server:
        replies = model(server, retries=1).answer(questions(400), "generate", GREEDY)
        with pytest.raises(RunStopped, match=r"16 samples in a row.*--resume"):
            for reply in replies:
                got.append(reply)
    assert len({position for position, _ in got}) == len(got)
    failed = [reply for _, reply in got if isinstance(reply, Failure)]
    # A success that comes after a failure starts the count again.
    assert 15 <= len(failed) < 100 and all("connection failed" in f.error for f in failed)
    assert 20 <= len(got) - len(failed) < 200


def test_nothing_is_lost_or_doubled_under_random_faults() -> None:
    chance = random.Random(5)
    good = json.dumps(says("x")).encode()

    def behave(request: Request) -> Reply:
        fine = echo(request)
        return chance.choice(
            [
                fine,
                fine,
                fine,
                Reply(fine.body, delay=0.02),
                Reply({"error": "busy"}, status=429, headers={"retry-after-ms": "5"}),
                Reply({"error": "oops"}, status=500),
                Reply(b"", status=503),
                Reply(fine.body, cut=chance.randrange(len(good))),
                Reply(good[: chance.randrange(len(good))]),
                Reply({"choices": [None]}),
            ]
        )

    with FakeServer(behave) as server:
        answers = ask(server, questions(150), retries=40)
    assert answers == {i: Says(f"re: q{i}") for i in range(150)}
    assert len(server.requests) > 200


# Pace and end ------------------------------------------------------------------------------


def test_concurrency_rises_above_eight_and_falls_after_429() -> None:
    def behave(request: Request) -> Reply:
        if request.number == 130:
            return Reply({"error": "x"}, status=429, headers={"retry-after-ms": "500"})
        return Reply(says("x"), delay=0.2)

    with FakeServer(behave) as server:
        served = model(server)
        assert len(list(served.answer(questions(450), "generate", GREEDY))) == 450
    refused = server.requests[130]
    most = served.most_at_once
    after = [r for r in server.requests if r.arrived - refused.arrived >= 0.5]
    assert most >= server.peak > 16
    assert after and max(r.together for r in after) <= 0.75 * most


def test_fixed_concurrency_is_never_exceeded() -> None:
    with FakeServer(always(says("x"), delay=0.01)) as server:
        ask(server, questions(60), concurrency=3)
    assert server.peak == 3


def test_images_are_read_only_for_what_is_in_flight() -> None:
    alive = 0
    read = []

    def source(i: int) -> Callable[[], bytes]:
        def get() -> bytes:
            read.append(i)
            return JPEG + bytes([i])

        return get

    samples = [Sample(str(i), (Image(f"{i}", source(i)), f"q{i}")) for i in range(60)]
    with FakeServer(always(says("x"), delay=0.02)) as server:
        for _, _answer in model(server, concurrency=4).answer(samples, "generate", GREEDY):
            alive = max(alive, len(read) - len(server.requests))
    assert len(read) == 60 and alive <= 4


def test_closing_early_cancels_what_is_out() -> None:
    with FakeServer(lambda r: Reply(says("x"), delay=0.01 if r.number < 5 else 30)) as server:
        before = set(threading.enumerate())
        replies = model(server).answer(questions(1000), "generate", GREEDY)
        for _ in range(5):
            next(replies)
        replies.close()  # type: ignore[attr-defined]  # it is a generator
        assert set(threading.enumerate()) == before
    assert len(server.requests) < 40


def test_an_unfinished_generator_that_is_dropped_ends_its_thread() -> None:
    with FakeServer(lambda r: Reply(says("x"), delay=0.01 if r.number < 1 else 30)) as server:
        before = set(threading.enumerate())
        next(model(server).answer(questions(50), "generate", GREEDY))
        gc.collect()
        assert set(threading.enumerate()) == before


def test_control_c_ends_it_at_once_and_quietly() -> None:
    script = """
import signal, sys, threading
from harness.find import make_model
from harness.types import Decoding, Sample
# a shell may have started the tests in the background, where it has interrupts ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
model = make_model("openai:m", {"base_url": sys.argv[1]})
try:
    samples = [Sample(str(i), (str(i),)) for i in range(90)]
    for reply in model.answer(samples, "generate", Decoding()):
        print("reply", flush=True)
except KeyboardInterrupt:
    print("interrupted", [t.name for t in threading.enumerate()])
"""
    with FakeServer(lambda r: Reply(says("x"), delay=0.01 if r.number < 1 else 60)) as server:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        with process:
            assert process.stdout is not None and process.stdout.readline() == "reply\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (out, err) == ("interrupted ['MainThread']\n", "")


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with FakeServer() as server:
        assert ask(server, questions(1), retries=0) == {0: Says("re: q0")}


def test_one_model_answers_many_times() -> None:
    with FakeServer() as server:
        served = model(server)
        for n in (0, 1, 5):
            assert len(list(served.answer(questions(n), "generate", GREEDY))) == n
