"""A sample becomes requests, their replies become an Answer (of the `openai` model).

Holds what is learned about a server on the way: which parameter it takes for the token limit, how
many log probabilities it reports, which model it says it is. Imports the standard library,
harness.errors, harness.types and the private files beside it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

from harness.errors import SightlineError, UsageError
from harness.models import _openai_rank as ranking
from harness.models._http import Pace, persist
from harness.models._openai_wire import DataUrls, Malformed, Refused, Wire, unicode
from harness.types import Answer, Decoding, Prompt, Sample

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What all requests have in common; see harness.models.openai.make."""

    model: str
    retries: int
    detail: str | None
    extra: Mapping[str, Any]
    system: str | None
    logprobs: str


@dataclass(frozen=True)
class Link:
    """One call of `answer`: open clients in turn, the thread that reads images, the decoding."""

    clients: Iterator[Any]
    reader: ThreadPoolExecutor
    decoding: Decoding


class Asker:
    """Asks one model of one server."""

    def __init__(self, options: Options, wire: Wire, pace: Pace) -> None:
        """Nothing is sent yet."""
        self.options, self.wire, self.pace = options, wire, pace
        self.limit_key = "max_tokens"
        self.top = ranking.TOP
        self.bounded = 0
        """Choices so far whose score is an upper bound, not what the server reported."""
        self.models: Counter[str] = Counter()
        self.fingerprints: Counter[str] = Counter()
        self.urls = DataUrls()
        self._ranked = False

    async def generate(self, link: Link, sample: Sample) -> Answer:
        """Let the model write. Raises DataError, Refused, Exhausted or SightlineError."""
        base: dict[str, Any] = {"messages": await self._messages(link, sample)}
        if link.decoding.stop:
            base["stop"] = list(link.decoding.stop)
        answer, seconds = await self._chat(link, base, link.decoding.max_tokens, _written)
        text = unicode(self.wire.without_key(answer.text))
        return replace(answer, text=text, seconds=seconds)

    async def rank(self, link: Link, sample: Sample) -> Answer:
        """Score the choices. Raises Undecided beside what `generate` raises."""
        ways = {"top": self._rank_top, "vllm": self._rank_vllm, "echo": self._rank_echo}
        answer = await ways[self.options.logprobs](link, sample)
        self._ranked = True
        return answer

    async def _rank_top(self, link: Link, sample: Sample) -> Answer:
        if reason := ranking.clash(sample.choices):
            raise ranking.Undecided(reason)
        messages = await self._messages(link, sample)
        while True:
            asked = self.top
            base = {"messages": messages, "logprobs": True, "top_logprobs": asked}
            try:
                found, seconds = await self._chat(link, base, 1, _top_and_usage)
            except Refused as error:
                if "logprobs" not in str(error):
                    raise
                if asked <= ranking.TOP_SMALL:
                    raise self._no_logprobs(str(error)) from None
                self.top = ranking.TOP_SMALL
                continue
            break
        tokens, tokens_in = found
        if tokens is None:
            raise self._no_logprobs("the reply holds none")
        scores, best, bounded = ranking.by_top(sample.choices, tokens)
        self.bounded += bounded
        return Answer(scores=scores, choice=best, tokens_in=tokens_in, seconds=seconds)

    async def _rank_vllm(self, link: Link, sample: Sample) -> Answer:
        messages = await self._messages(link, sample)
        given = {"add_generation_prompt": False, "continue_final_message": True}
        bodies: list[dict[str, Any]] = [{"messages": messages}]
        for choice in sample.choices:
            said = {"role": "assistant", "content": choice}
            bodies.append({"messages": [*messages, said], **given})
        total, whole = 0.0, []
        for body in bodies:
            base = {**body, "prompt_logprobs": 1}
            try:
                tokens, seconds = await self._chat(link, base, 1, ranking.prompt_tokens)
            except Refused as error:
                if "prompt_logprobs" not in str(error):
                    raise
                raise self._no_logprobs(str(error)) from None
            if tokens is None:
                raise self._no_logprobs("the reply holds no prompt_logprobs")
            whole.append(tokens)
            total += seconds
        prefix, rank_by = whole[0], link.decoding.rank_by
        return _taken([ranking.behind(prefix, tokens, rank_by) for tokens in whole[1:]], total)

    async def _rank_echo(self, link: Link, sample: Sample) -> Answer:
        parts = [part for part in sample.prompt if isinstance(part, str)]
        if len(parts) < len(sample.prompt) or sample.system:
            raise ranking.Undecided("logprobs=echo is for text alone, without a system message")
        prompt = "".join(parts).rstrip()
        rank_by: Literal["sum", "mean"] = link.decoding.rank_by
        scores, total = [], 0.0
        for choice in sample.choices:
            text = f" {choice.strip()}"
            base = {"prompt": prompt + text, "echo": True, "logprobs": 1, "max_tokens": 1}
            read = partial(ranking.echoed, prompt=prompt, choice=text, rank_by=rank_by)
            try:
                score, seconds = await self._post(link, "/completions", base, read)
            except Refused as error:
                if not any(word in str(error) for word in ("echo", "logprobs", "404", "405")):
                    raise
                raise self._no_logprobs(str(error)) from None
            scores.append(score)
            total += seconds
        return _taken(scores, total)

    def _no_logprobs(self, why: str) -> SightlineError | ranking.Undecided:
        """A usage error before the first ranked sample; after it, this sample's trouble."""
        text = f"{self.wire.base_url} reports no log probabilities to rank with: {why}"
        if self._ranked:
            return ranking.Undecided(text)
        return UsageError(f"{text}. Use the task's generate variant, or a local model")

    async def _chat(
        self, link: Link, base: Mapping[str, Any], limit: int, read: Callable[[Any], T]
    ) -> tuple[T, float]:
        """Post a chat request, under whichever name the server takes for the token limit."""
        key = self.limit_key
        try:
            return await self._post(link, "/chat/completions", {**base, key: limit}, read)
        except Refused as error:
            if key != "max_tokens" or "max_tokens" not in str(error):
                raise
        other = "max_completion_tokens"
        result = await self._post(link, "/chat/completions", {**base, other: limit}, read)
        self.limit_key = other
        return result

    async def _post(
        self, link: Link, path: str, base: Mapping[str, Any], read: Callable[[Any], T]
    ) -> tuple[T, float]:
        decoding = link.decoding
        body = {
            "model": self.options.model,
            **base,
            "temperature": decoding.temperature,
            "seed": decoding.seed,
            **self.options.extra,
        }
        body = {key: value for key, value in body.items() if value is not None}

        def noted(reply: Any) -> T:
            result = read(reply)
            self._note(reply)
            return result

        attempt = partial(self.wire.post, next(link.clients), path, body, noted)
        return await persist(attempt, self.pace, self.options.retries)

    async def _messages(self, link: Link, sample: Sample) -> list[dict[str, Any]]:
        """Build the messages in the image thread. Raises DataError."""
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(link.reader, self._content, sample.prompt)
        system = sample.system or self.options.system  # the task's protocol goes first
        first = [] if system is None else [{"role": "system", "content": system}]
        return [*first, {"role": "user", "content": content}]

    def _content(self, prompt: Prompt) -> str | list[dict[str, Any]]:
        if len(prompt) == 1 and isinstance(prompt[0], str):
            return prompt[0]  # servers of text models take no list
        parts: list[dict[str, Any]] = []
        for part in prompt:
            if isinstance(part, str):
                parts.append({"type": "text", "text": part})
                continue
            image = {"url": self.urls.of(part)}
            if self.options.detail:
                image["detail"] = self.options.detail
            parts.append({"type": "image_url", "image_url": image})
        return parts

    def _note(self, reply: Mapping[str, Any]) -> None:
        """Count the server's own names for what answered; bounded, since a server may lie."""
        for key, seen in (("model", self.models), ("system_fingerprint", self.fingerprints)):
            if reply.get(key):
                value = self.wire.plain(str(reply[key]), 200)
                seen[value if value in seen or len(seen) < 32 else "other"] += 1


def _written(reply: Any) -> Answer:
    """Read a chat reply. Raises Malformed, or KeyError and the like for one that is none."""
    choice = reply["choices"][0]
    message, reason = choice["message"], choice.get("finish_reason")
    if reason in ("error", "abort"):
        raise Malformed(f"the server ended with finish_reason {reason!r}")
    text = message.get("content") or message.get("refusal") or ""
    if isinstance(text, list):
        text = "".join(part["text"] for part in text if part.get("type") == "text")
    if not isinstance(text, str):
        raise Malformed("the content is not text")
    stop: Literal["end", "length", "refused"] = "length" if reason == "length" else "end"
    if reason == "content_filter" or message.get("refusal"):
        stop = "refused"
    tokens_in, tokens_out = _tokens(reply, "prompt_tokens"), _tokens(reply, "completion_tokens")
    return Answer(text, stop, tokens_in=tokens_in, tokens_out=tokens_out)


def _top_and_usage(reply: Any) -> tuple[list[tuple[str, float]] | None, int | None]:
    return ranking.top_tokens(reply), _tokens(reply, "prompt_tokens")


def _tokens(reply: Any, key: str) -> int | None:
    value = (reply.get("usage") or {}).get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _taken(scores: Sequence[float], seconds: float) -> Answer:
    if not scores:
        raise ranking.Undecided("the sample has no choices")
    best = max(range(len(scores)), key=lambda i: scores[i])
    return Answer(scores=tuple(scores), choice=best, seconds=seconds)
