"""Any OpenAI-compatible server: OpenAI, vLLM, SGLang, llama.cpp server, Ollama.

`openai:gpt-4.1`, or `openai:NAME` with the option base_url (or OPENAI_BASE_URL). Wire format: the
public OpenAI API reference; see docs/models-openai.md for what is retried and what ranking means.
Imports the standard library, harness.errors, harness.types and its own private files; the `openai`
package is imported with the first request.
"""

import json
import math
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

from harness.errors import DataError, RunStopped, UsageError, unknown
from harness.models._http import MOST_LIMIT, Exhausted, Pace, Work, stream
from harness.models._openai_ask import Asker, Link, Options
from harness.models._openai_rank import WAYS, Undecided, clash
from harness.models._openai_wire import OPENAI, Refused, Wire, check_url
from harness.types import Answer, Ask, Decoding, Failure, Image, Reply, Sample

GIVE_UP_AFTER = 16
"""Samples lost in a row (or refused, when none was ever answered) that end the run."""
_DECODING_KEYS = ("max_tokens", "max_completion_tokens", "temperature", "seed", "stop")
_OUR_KEYS = (
    *("model", "messages", "prompt", "stream", "n", "echo", "logprobs", "top_logprobs"),
    *("prompt_logprobs", "add_generation_prompt", "continue_final_message"),
)


def make(
    address: str,
    *,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 0,
    timeout: float = 120,
    retries: int = 6,
    detail: str | None = None,
    extra_body: str | None = None,
    system: str | None = None,
    logprobs: str = "auto",
) -> "Served":
    """Make the model called `address` on the server at `base_url`.

    Args:
        address: The model's name as the server knows it.
        base_url: Up to and with `/v1`; else the variable OPENAI_BASE_URL, else OpenAI.
        api_key_env: The environment variable that holds the key. Servers other than OpenAI's are
            sent "none" where it is not set.
        concurrency: Requests at once at most; 0: between 1 and 256, adapted to the server.
        timeout: Seconds for one request as a whole.
        retries: Attempts after the first, for what may pass (429, 5xx, connection, timeout).
        detail: `detail` of each image (OpenAI: low, high, auto).
        extra_body: A JSON object merged into each request; null takes a parameter out.
        system: A system message for samples that have none of their own.
        logprobs: How `rank` is done: auto (top), top, vllm or echo.

    Raises:
        UsageError: An option is wrong, or the key for OpenAI's own server is missing.
    """
    if not address.strip():
        raise UsageError("which model? For example openai:gpt-4.1")
    url = check_url(str(base_url or "") or os.environ.get("OPENAI_BASE_URL") or OPENAI)
    key = os.environ.get(str(api_key_env), "").strip()
    host = urlsplit(url).hostname or ""
    if not key and host.endswith("api.openai.com"):
        raise UsageError(
            f"{host} needs a key, and the environment variable {api_key_env} is not set. Set it, "
            "name another one (api_key_env), or give the base_url of your own server"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            f"the environment variable {api_key_env} does not hold a key: it has spaces or "
            "characters that no key has"
        )
    if logprobs not in ("auto", *WAYS):
        raise unknown("way to rank (logprobs)", str(logprobs), ("auto", *WAYS))
    if logprobs == "echo" and system is not None:
        raise UsageError("logprobs=echo has no chat template, so it cannot send a system message")
    options = Options(
        model=address.strip(),
        retries=int(_number("retries", retries, 0, 100)),
        detail=None if detail is None else str(detail),
        extra=_extra(extra_body),
        system=None if system is None else str(system),
        logprobs="top" if logprobs == "auto" else logprobs,
    )
    pace = Pace(int(_number("concurrency", concurrency, 0, 16 * MOST_LIMIT)))
    wire = Wire(url, key or "none", _number("timeout", timeout, 0.001, 86400))
    return Served(Asker(options, wire, pace))


class Served:
    """A model behind HTTP. Not thread-safe: one `answer` at a time."""

    def __init__(self, asker: Asker) -> None:
        """See `make`."""
        self.name = f"openai:{asker.options.model}"
        self._asker, self._server = asker, asker.wire.base_url
        self._rank_used = False
        self._lost = self._refused = self._answered = 0

    @property
    def most_at_once(self) -> int:
        """The most requests that were out at once so far; no part of the model's identity."""
        return self._asker.pace.peak

    def describe(self) -> Mapping[str, Any]:
        """Return what identifies the model; under `seen`, what the server showed so far."""
        asker, options = self._asker, self._asker.options
        rank: dict[str, Any] = {"way": options.logprobs, "is": WAYS[options.logprobs]}
        if options.logprobs == "top":
            rank |= {"exact": False, "top_logprobs": asker.top, "bounded_choices": asker.bounded}
        return {
            "kind": "openai",
            "model": options.model,
            "server": self._server,
            "package": f"openai {version('openai')}",
            "preprocessing": {"images": "original bytes as data URLs", "detail": options.detail},
            "system": options.system,
            "extra_body": dict(options.extra),
            **({"rank": rank} if self._rank_used else {}),
            "seen": {
                "models": dict(asker.models),
                "system_fingerprints": dict(asker.fingerprints),
                "token_limit_parameter": asker.limit_key,
                "images_reencoded_as_png": asker.urls.reencoded,
            },
        }

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Answer all samples; see harness.types.Model.

        Raises UsageError for `encode`, for `rank` where the choices cannot be told apart by what
        a server reports or the server reports nothing, and for a wrong key, URL or model name;
        RunStopped when the server is lost on the way.
        """
        if ask == "encode":
            raise UsageError(
                "an OpenAI-compatible server has no standard way to return image features; use a "
                "local model for a task that asks for them"
            )
        if ask == "rank":
            self._rank_used = True
            self._check_rankable(samples)

        @asynccontextmanager
        async def session() -> AsyncIterator[Work]:
            # One thread: the images' sources need not be thread-safe.
            with ThreadPoolExecutor(1, "sightline-images") as reader:
                async with AsyncExitStack() as stack:
                    made = [self._asker.wire.client() for _ in range(self._clients(len(samples)))]
                    clients = [await stack.enter_async_context(client) for client in made]
                    link = Link(cycle(clients), reader, decoding)
                    yield lambda position: self._guarded(link, samples[position], ask)

        return stream(_by_image(samples), session, self._asker.pace)

    def _clients(self, samples: int) -> int:
        """Clients to share the requests: one's connection pool slows down with its size.

        Measured with 128 connections: 250 requests/s with one pool, 420 with eight.
        """
        return min(8, 1 + min(self._asker.pace.most, samples) // 32)

    async def _guarded(self, link: Link, sample: Sample, ask: Ask) -> Answer | Failure:
        """Answer one sample; its own trouble becomes a Failure, a lost server ends the run."""
        asking = self._asker.rank if ask == "rank" else self._asker.generate
        try:
            answer = await asking(link, sample)
        except (DataError, Undecided) as error:
            return Failure(self._asker.wire.plain(str(error)))
        except Exhausted as error:
            self._lost += 1
            if self._lost >= GIVE_UP_AFTER:
                self._lost = 0
                raise RunStopped(
                    f"{self._server} failed {GIVE_UP_AFTER} samples in a row; the last: {error}. "
                    f"{self._answered} samples were answered. Check that the server runs, then go "
                    "on with --resume."
                ) from None
            return Failure(str(error))
        except Refused as error:
            self._refused += 1
            if self._refused >= GIVE_UP_AFTER and not self._answered:
                raise RunStopped(
                    f"{self._server} refused the first {self._refused} samples; the last: {error}. "
                    "A parameter that this model does not take is left out with the option "
                    'extra_body, for example {"temperature": null}.'
                ) from None
            self._lost = 0  # it answers, if not as hoped
            return Failure(str(error))
        self._answered += 1
        self._lost = 0
        return answer

    def _check_rankable(self, samples: Sequence[Sample]) -> None:
        """Refuse a task of which more than a tenth cannot be ranked in the chosen way."""
        why = {"top": _why_not_top, "echo": _why_not_echo}.get(self._asker.options.logprobs)
        bad = [(s.id, reason) for s in samples if why and (reason := why(s))]
        if len(bad) * 10 > len(samples):
            raise UsageError(
                f"this task cannot be ranked over this server: for {len(bad)} of {len(samples)} "
                f"samples {bad[0][1]} (sample {bad[0][0]}). Use the task's generate variant, or on "
                "vLLM the option logprobs=vllm"
            )


def _why_not_top(sample: Sample) -> str:
    return clash(sample.choices)


def _why_not_echo(sample: Sample) -> str:
    shown = any(isinstance(part, Image) for part in sample.prompt)
    if shown:
        return "the prompt has an image, and logprobs=echo is for text alone"
    return "there is a system message, and logprobs=echo has no template" if sample.system else ""


def _by_image(samples: Sequence[Sample]) -> list[int]:
    """Order positions so that samples of the same images follow each other.

    The server's prefix cache and our encoded images are then used while they are warm.
    """
    groups: dict[tuple[Image, ...], list[int]] = {}
    for position, sample in enumerate(samples):
        images = tuple(part for part in sample.prompt if isinstance(part, Image))
        groups.setdefault(images, []).append(position)
    return [position for group in groups.values() for position in group]


def _number(name: str, value: Any, low: float, high: float) -> float:
    """Check a numeric option. Raises UsageError."""
    whole = name in ("retries", "concurrency")
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number of seconds"
        raise UsageError(f"{name} must be {kind} between {low:g} and {high:g}, not {value!r}")
    return float(value)


def _extra(text: str | None) -> Mapping[str, Any]:
    """Read the option extra_body. Raises UsageError."""
    if text is None or text == "":
        return {}
    try:
        extra = json.loads(text)
    except (TypeError, ValueError) as error:
        raise UsageError(f"extra_body is not JSON: {error}") from error
    if not isinstance(extra, dict):
        raise UsageError('extra_body must be a JSON object, for example {"top_k": 1}')
    for key, value in extra.items():
        if key in _OUR_KEYS:
            raise UsageError(f"extra_body must not hold '{key}': this model sets it itself")
        if key in _DECODING_KEYS and value is not None:
            raise UsageError(
                f"extra_body must not set '{key}', which belongs to the task; null leaves it out"
            )
    return extra
