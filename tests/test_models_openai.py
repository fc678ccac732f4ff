"""What the `openai:` model sends to a real HTTP server, what it makes of replies, its options."""

import base64
import io
import subprocess
import sys
from collections.abc import Callable
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

from harness.errors import UsageError
from harness.find import make_model
from harness.types import Answer, Decoding, Failure, Image, Sample

FIXTURES = (short_waits, nothing_left)
PNG = b"\x89PNG\r\n\x1a\n not decoded"
GIF, WEBP = b"GIF89a not decoded", b"RIFF\0\0\0\0WEBP not decoded"


# What is sent ------------------------------------------------------------------------------


def test_parts_in_order_with_identical_image_bytes_and_their_type() -> None:
    images = [Image(f"{i}", data) for i, data in enumerate((JPEG, PNG, GIF, WEBP))]
    prompt = ("before", images[0], "between", images[1], images[2], images[3], "after")
    with FakeServer() as server:
        ask(server, [Sample("1", prompt)], detail="low", system="Be brief.")
    first, message = server.requests[0].body["messages"]
    assert first == {"role": "system", "content": "Be brief."}
    seen = []
    for part in message["content"]:
        if part["type"] == "text":
            seen.append(part["text"])
            continue
        assert part["image_url"]["detail"] == "low"
        kind, _, data = part["image_url"]["url"].partition(";base64,")
        seen.append((kind, base64.b64decode(data, validate=True)))
    assert seen == [
        "before",
        ("data:image/jpeg", JPEG),
        "between",
        ("data:image/png", PNG),
        ("data:image/gif", GIF),
        ("data:image/webp", WEBP),
        "after",
    ]


def test_the_system_message_of_a_sample_goes_before_that_of_the_option() -> None:
    samples = [Sample("1", ("q",), system="You judge."), Sample("2", ("q",))]
    with FakeServer() as server:
        ask(server, samples, concurrency=1)
        ask(server, samples, concurrency=1, system="Be brief.")
    sent = [[m["content"] for m in request.body["messages"]] for request in server.requests]
    assert sent == [["You judge.", "q"], ["q"], ["You judge.", "q"], ["Be brief.", "q"]]


def test_another_format_becomes_png_with_the_same_pixels() -> None:
    from PIL import Image as Pillow

    picture = Pillow.new("CMYK", (3, 2), (10, 20, 30, 40))
    tiff = io.BytesIO()
    picture.save(tiff, "TIFF")
    image = Image("a.tiff", tiff.getvalue())
    with FakeServer() as server:
        served = model(server)
        samples = [Sample(str(i), (image, str(i))) for i in range(3)]
        list(served.answer(samples, "generate", GREEDY))
    url = server.requests[0].body["messages"][0]["content"][0]["image_url"]["url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    with Pillow.open(io.BytesIO(base64.b64decode(data))) as back:
        assert list(back.convert("RGB").tobytes()) == list(picture.convert("RGB").tobytes())
    assert served.describe()["seen"]["images_reencoded_as_png"] == 1


def test_an_image_is_read_once_for_all_its_questions_wherever_they_stand() -> None:
    reads: list[str] = []

    def source(name: str) -> Callable[[], bytes]:
        def read() -> bytes:
            reads.append(name)
            return JPEG

        return read

    images = [Image(name, source(name)) for name in ("a", "b")]
    samples = [Sample(str(i), (images[i % 2], f"q{i}")) for i in range(20)]
    with FakeServer() as server:
        answers = ask(server, samples)
    assert sorted(reads) == ["a", "b"]
    assert [answers[i].text for i in range(20)] == [f"re: q{i}" for i in range(20)]


def test_decoding_is_sent_and_extra_body_adds_and_removes() -> None:
    decoding = Decoding(max_tokens=5, temperature=0.25, seed=3, stop=("\n", "###"))
    with FakeServer() as server:
        ask(server, questions(1), decoding, extra_body='{"top_k": 1, "seed": null}')
    body = server.requests[0].body
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "q0"}],
        "max_tokens": 5,
        "temperature": 0.25,
        "stop": ["\n", "###"],
        "top_k": 1,
    }


def test_the_newer_name_of_the_token_limit_is_found_and_remembered() -> None:
    def behave(request: Request) -> Reply:
        if "max_tokens" in request.body:
            error = {"message": "Unsupported parameter: 'max_tokens'.", "param": "max_tokens"}
            return Reply({"error": error}, status=400)
        return echo(request)

    with FakeServer(behave) as server:
        served = model(server, concurrency=1)
        replies = list(served.answer(questions(10), "generate", Decoding(max_tokens=9)))
    assert all(isinstance(answer, Answer) for _, answer in replies)
    assert len(server.requests) == 11
    assert server.requests[-1].body["max_completion_tokens"] == 9
    assert served.describe()["seen"]["token_limit_parameter"] == "max_completion_tokens"


def test_a_prompt_too_long_is_not_taken_for_a_wrong_parameter_name() -> None:
    error = {"message": "max_tokens and the prompt exceed the context of 4096 tokens"}

    def behave(request: Request) -> Reply:
        return Reply({"error": error}, status=400) if request.text == "q3" else echo(request)

    with FakeServer(behave) as server:
        served = model(server, concurrency=1)
        replies = dict(served.answer(questions(6), "generate", GREEDY))
    assert isinstance(replies[3], Failure) and "context of 4096" in replies[3].error
    assert served.describe()["seen"]["token_limit_parameter"] == "max_tokens"


# What comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text", "stop"),
    [
        (says("yes"), "yes", "end"),
        (says("a b", finish_reason="length"), "a b", "length"),
        (says(None), "", "end"),
        (says("half", finish_reason="content_filter"), "half", "refused"),
        (says(None, message={"content": None, "refusal": "I can't."}), "I can't.", "refused"),
        (says("x", message={"content": [{"type": "text", "text": "x"}]}), "x", "end"),
        (says("\x00\x1b[31m\u202e{0} %s\r\n"), "\x00\x1b[31m\u202e{0} %s\r\n", "end"),
        (says("a\ud800b"), "a\ufffdb", "end"),
        (says("word " * 200_000), "word " * 200_000, "end"),
    ],
    ids=["plain", "cut", "none", "filtered", "refusal", "parts", "controls", "surrogate", "1 MB"],
)
def test_replies(body: Any, text: str, stop: str) -> None:
    with FakeServer(always(body)) as server:
        answer = ask(server, questions(1))[0]
    assert isinstance(answer, Answer)
    assert (answer.text, answer.stop) == (text, stop)
    assert (answer.tokens_in, answer.tokens_out) == (7, 2)
    assert answer.seconds is not None and answer.seconds > 0


def test_what_answered_is_counted() -> None:
    def behave(request: Request) -> Reply:
        good = says("x")
        good["model"] = "m-2026-02" if request.text == "q1" else "m-2026-01"
        good["system_fingerprint"] = None
        return Reply(good)

    with FakeServer(behave) as server:
        served = model(server)
        list(served.answer(questions(3), "generate", GREEDY))
    seen = served.describe()["seen"]
    assert seen["models"] == {"m-2026-01": 2, "m-2026-02": 1}
    assert seen["system_fingerprints"] == {}


# Options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says_so"),
    [
        ({"concurency": 3}, "concurrency"),
        ({"extra_body": "{"}, "not JSON"),
        ({"extra_body": "[1]"}, "JSON object"),
        ({"extra_body": '{"messages": []}'}, "messages"),
        ({"extra_body": '{"stream": true}'}, "stream"),
        ({"extra_body": '{"temperature": 1}'}, "null leaves it out"),
        ({"logprobs": "vlm"}, "vllm"),
        ({"concurrency": -1}, "concurrency"),
        ({"concurrency": "many"}, "many"),
        ({"retries": 1.5}, "whole number"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"base_url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"base_url": "http://u:secret@h/v1"}, "environment variable"),
        ({"base_url": "http://h:99999/v1"}, "base_url"),
        ({"system": "x", "logprobs": "echo"}, "system"),
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, Any], says_so: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_model("openai:m", {"base_url": "http://127.0.0.1:9/v1", **options})
    assert says_so in str(caught.value) and "secret" not in str(caught.value)


def test_a_missing_key_or_name_is_said_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
        make_model("openai:gpt-4.1")
    with pytest.raises(UsageError, match="MY_KEY is not set"):
        make_model("openai:gpt-4.1", {"api_key_env": "MY_KEY"})
    with pytest.raises(UsageError, match="which model"):
        make_model("openai:")
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(UsageError) as caught:
        make_model("openai:gpt-4.1")
    assert "two words" not in str(caught.value)


def test_the_server_may_come_from_the_environment_and_needs_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        served = make_model("openai:org/name:latest")
        ((_, answer),) = served.answer(questions(1), "generate", GREEDY)
    assert answer == Says("re: q0")
    assert server.requests[0].headers["authorization"] == "Bearer none"
    assert server.requests[0].body["model"] == "org/name:latest"
    assert served.describe()["server"] == server.url


def test_importing_the_model_imports_no_client() -> None:
    code = "import sys, harness.models.openai; print({'openai', 'PIL', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout == "set()\n"
