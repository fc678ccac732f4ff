"""Scores of closed answers from servers that report log probabilities.

Three ways, since no standard covers it: `top` reads the most likely first tokens of a chat reply
(OpenAI API reference, `top_logprobs`) and is not a full log-likelihood; `vllm` sums the
`prompt_logprobs` of vLLM's chat endpoint; `echo` sums the echoed prompt of /v1/completions, text
only and without a chat template. Pure functions of decoded replies; imports the standard library.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harness.models._openai_wire import Malformed

WAYS: Mapping[str, str] = {
    "top": "log probability of each choice's first token among the most likely ones of a chat "
    "reply; a choice that is not among them gets an upper bound just below the least likely of "
    "them, and rank_by has no effect",
    "vllm": "log probability of all tokens of each choice as the assistant's reply (vLLM, "
    "prompt_logprobs)",
    "echo": "log probability of all tokens of each choice behind the prompt and one space, "
    "without a chat template (/v1/completions, echo)",
}
TOP, TOP_SMALL = 20, 5
"""`top_logprobs`: the most that the API allows, and what older servers allow."""


class Undecided(Exception):
    """The log probabilities do not say which choice wins."""


def clash(choices: Sequence[str]) -> str:
    """Say why the first token cannot tell the choices apart; empty when it may."""
    if not choices:
        return "the sample has no choices"
    seen: dict[str, str] = {}
    for choice in choices:
        word = re.match(r"\s*(\w+|\S|$)", choice)
        first = word[1] if word else ""
        if first in seen or not first:
            return f"the choices {seen.get(first, '')!r} and {choice!r} begin with the same word"
        seen[first] = choice
    return ""


def top_tokens(reply: Any) -> list[tuple[str, float]] | None:
    """Read (token, log probability) of the first position; None when the server gave none."""
    logprobs = reply["choices"][0].get("logprobs")
    if not logprobs or not logprobs.get("content"):
        return None
    first = logprobs["content"][0]
    found = [(entry["token"], float(entry["logprob"])) for entry in first.get("top_logprobs") or ()]
    if not found:
        return None
    if first["token"] not in [token for token, _ in found]:
        found.append((first["token"], float(first["logprob"])))
    return [(token, value) for token, value in found if math.isfinite(value)]


def by_top(
    choices: Sequence[str], tokens: Sequence[tuple[str, float]]
) -> tuple[tuple[float, ...], int, int]:
    """Score choices by the first token: (scores, the best one's index, how many were bounded).

    A choice scores the log of the summed probability of the tokens that, without the space or
    word mark before them, equal it; if there is none, of those that begin it. Case counts. Raises
    Undecided when no choice is among the tokens, or when a token that begins several choices is
    likely enough to change the winner.
    """
    exact: list[list[float]] = [[] for _ in choices]
    begun: list[list[float]] = [[] for _ in choices]
    shared: list[float] = []
    for token, value in tokens:
        text = token.lstrip().removeprefix("▁").removeprefix("Ġ")
        fits = [i for i, choice in enumerate(choices) if text and choice.startswith(text)]
        if len(fits) > 1:
            shared.append(value)
        elif fits:
            (exact if choices[fits[0]] == text else begun)[fits[0]].append(value)
    masses = [_log_sum(exact[i] or begun[i]) for i in range(len(choices))]
    best = max(range(len(choices)), key=lambda i: masses[i])
    if masses[best] == -math.inf:
        raise Undecided(f"none of the choices is among the {len(tokens)} most likely first tokens")
    # Strictly below every reported token: a bounded choice never ties with a found one.
    bound = math.nextafter(min(value for _, value in tokens), -math.inf)
    scores = tuple(bound if mass == -math.inf else mass for mass in masses)
    second = max((s for i, s in enumerate(scores) if i != best), default=-math.inf)
    if shared and math.exp(_log_sum(shared)) >= math.exp(scores[best]) - math.exp(second):
        raise Undecided("a likely first token begins several of the choices")
    return scores, best, masses.count(-math.inf)


def prompt_tokens(reply: Any) -> list[tuple[str, float]] | None:
    """Read (token id, log probability) per prompt token from vLLM's `prompt_logprobs`.

    None when the server gave none. The first token has no probability and is given 0. A position
    holds the prompt's token and, where that is not the most likely one (rank 1), that one too.
    """
    positions = reply.get("prompt_logprobs")
    if not positions:
        return None
    tokens = []
    for position in positions:
        if position is None:
            tokens.append(("", 0.0))
            continue
        entries = list(position.items())
        given = [e for e in entries if e[1]["rank"] != 1] if len(entries) > 1 else entries
        if len(given) != 1:
            raise Malformed("prompt_logprobs do not say which token is the prompt's")
        tokens.append((given[0][0], float(given[0][1]["logprob"])))
    return tokens


def behind(
    prefix: Sequence[tuple[str, float]],
    whole: Sequence[tuple[str, float]],
    rank_by: Literal["sum", "mean"],
) -> float:
    """Log-likelihood of what `whole` has behind `prefix`.

    Raises Undecided when `whole` does not begin with `prefix`: then the server's chat template
    does not put the reply where its generation prompt ends.
    """
    n = len(prefix)
    if len(whole) <= n or [t for t, _ in whole[:n]] != [t for t, _ in prefix]:
        raise Undecided(
            "the server's chat template puts a given reply elsewhere than a generated one"
        )
    return _total([value for _, value in whole[n:]], rank_by)


def echoed(reply: Any, prompt: str, choice: str, rank_by: Literal["sum", "mean"]) -> float:
    """Log-likelihood of `choice` behind `prompt` in an echoed completion.

    Raises Undecided when the server did not echo: some accept the parameter and ignore it.
    """
    logprobs = reply["choices"][0].get("logprobs") or {}
    values, offsets = logprobs.get("token_logprobs") or (), logprobs.get("text_offset") or ()
    text = reply["choices"][0].get("text") or ""
    end = len(prompt) + len(choice)
    if not text.startswith(prompt + choice) or not offsets or offsets[0] != 0:
        raise Undecided("the server did not echo the prompt with its log probabilities")
    starts = [offset for offset in offsets if offset < end]
    inside = [float(v) for v, o in zip(values, offsets, strict=False) if len(prompt) <= o < end]
    if not inside or len(prompt) not in starts:
        raise Undecided("a token spans the end of the prompt and the beginning of the choice")
    return _total(inside, rank_by)


def _total(values: Sequence[float], rank_by: Literal["sum", "mean"]) -> float:
    total = math.fsum(values)
    return total / len(values) if rank_by == "mean" else total


def _log_sum(values: Sequence[float]) -> float:
    """Log of the sum of probabilities; minus infinity for none."""
    if not values:
        return -math.inf
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
