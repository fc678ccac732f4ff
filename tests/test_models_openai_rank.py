"""Ranking by the `openai:` model, against a real HTTP server that reports log probabilities."""

import math
from typing import Any

import pytest
from fake_openai_server import FakeServer, Reply, Request, says
from hypothesis import given
from hypothesis import strategies as st
from openai_cases import GREEDY, JPEG, always, model, nothing_left, questions, short_waits

from harness.errors import UsageError
from harness.models._openai_rank import Undecided, by_top, clash
from harness.types import Answer, Decoding, Failure, Image, Model, Sample

FIXTURES = (short_waits, nothing_left)


def _top(*pairs: tuple[str, float]) -> dict[str, Any]:
    entries = [{"token": token, "logprob": value, "bytes": None} for token, value in pairs]
    first = {**entries[0], "top_logprobs": entries}
    return says(pairs[0][0], logprobs={"content": [first]}, finish_reason="length")


def rank(server: FakeServer, *samples: Sample, **options: Any) -> tuple[Any, Model]:
    served = model(server, **options)
    replies = dict(served.answer(samples, "rank", GREEDY))
    assert sorted(replies) == list(range(len(samples)))
    return [replies[i] for i in range(len(samples))], served


YESNO = Sample("1", ("Is it?",), choices=("yes", "no"))
LETTERS = Sample("2", ("Which?",), choices=("A", "B", "C", "D"))


def test_rank_sums_the_ways_to_write_a_choice() -> None:
    body = _top((" yes", -0.5), ("No", -1.2), ("yes", -1.5), ("▁no", -3.0), ("maybe", -7.0))
    with FakeServer(always(body)) as server:
        (answer,), served = rank(server, YESNO)
    # ln(exp(-0.5) + exp(-1.5)) = -0.5 + ln(1 + 1/e); "No" is not "no".
    assert answer.scores == pytest.approx((-0.1867383, -3.0))
    assert (answer.choice, answer.text) == (0, "")
    sent = server.requests[0].body
    assert (sent["logprobs"], sent["top_logprobs"], sent["max_tokens"]) == (True, 20, 1)
    said = served.describe()["rank"]
    assert (said["way"], said["exact"], said["bounded_choices"]) == ("top", False, 0)


def test_a_choice_that_was_not_reported_gets_an_upper_bound_and_is_counted() -> None:
    with FakeServer(always(_top(("C", -0.1), ("The", -2.5), (" A", -4.0)))) as server:
        (answer,), served = rank(server, LETTERS)
    a, b, c, d = answer.scores
    assert (a, c) == (-4.0, -0.1)
    assert b == d < -4.0 and b == pytest.approx(-4.0)
    assert answer.choice == 2
    assert served.describe()["rank"]["bounded_choices"] == 2


def test_no_choice_reported_is_a_failure() -> None:
    def behave(request: Request) -> Reply:
        return Reply(_top(("I", -0.1), ("The", -3.0)) if request.text == "?" else _top(("A", -0.1)))

    odd = Sample("3", ("?",), choices=("A", "B"))
    with FakeServer(behave) as server:
        (good, bad), _ = rank(server, LETTERS, odd)
    assert good.choice == 0
    assert isinstance(bad, Failure) and "none of the choices" in bad.error


def test_a_first_token_that_two_choices_share_is_a_failure_only_when_it_matters() -> None:
    choices = ("twelve", "twenty")
    with pytest.raises(Undecided, match="begins several"):
        by_top(choices, [("tw", -0.2), ("twelve", -2.0), ("twenty", -3.0)])
    scores, best, bounded = by_top(choices, [("twelve", -0.1), ("twenty", -3.0), ("tw", -9.0)])
    assert (scores, best, bounded) == ((-0.1, -3.0), 0, 0)


@given(
    st.dictionaries(st.sampled_from("ABCDEFxyz"), st.floats(-30, -0.01), min_size=1),
    st.integers(2, 6),
)
def test_ranking_never_puts_a_bounded_choice_above_a_reported_one(
    tokens: dict[str, float], n: int
) -> None:
    choices = "ABCDEF"[:n]
    reported = {c: tokens[c] for c in choices if c in tokens}
    if not reported:
        with pytest.raises(Undecided):
            by_top(choices, list(tokens.items()))
        return
    scores, best, bounded = by_top(choices, list(tokens.items()))
    assert tokens[choices[best]] == max(reported.values())
    assert bounded == n - len(reported)
    worst = min(reported.values())
    assert all(s < worst for c, s in zip(choices, scores, strict=True) if c not in reported)
    assert all(math.isclose(s, reported[c]) for c, s in zip(choices, scores, strict=True)
               if c in reported)  # fmt: skip


def test_choices_that_begin_alike_are_refused_before_any_request() -> None:
    assert clash(("(A) x", "(B) y")) and clash(("The man", "The dog")) and not clash(("yes", "no"))
    long = Sample("7", ("?",), choices=("The man runs", "The dog sleeps"))
    with FakeServer() as server:
        with pytest.raises(UsageError, match=r"sample 7.*generate variant"):
            model(server).answer([long, YESNO], "rank", GREEDY)
        assert not server.requests


def test_one_sample_whose_choices_begin_alike_among_many_is_one_failure() -> None:
    long = Sample("7", ("?",), choices=("The man runs", "The dog sleeps"))
    with FakeServer(always(_top(("yes", -0.1), ("no", -2.4)))) as server:
        answers, _ = rank(server, *[YESNO] * 12, long)
    assert isinstance(answers[12], Failure) and "same word" in answers[12].error
    assert all(answer.choice == 0 for answer in answers[:12])


@pytest.mark.parametrize(
    "behave",
    [
        always(says("yes")),
        always(says("yes", logprobs=None)),
        always({"error": {"message": "logprobs are not supported"}}, status=400),
    ],
    ids=["ignored", "null", "refused"],
)
def test_a_server_without_log_probabilities_is_a_usage_error(behave: Any) -> None:
    with (
        FakeServer(behave) as server,
        pytest.raises(UsageError, match="generate variant"),
    ):
        rank(server, YESNO, YESNO)


def test_a_server_with_fewer_log_probabilities_is_asked_for_fewer() -> None:
    def behave(request: Request) -> Reply:
        if request.body["top_logprobs"] > 5:
            return Reply({"error": {"message": "top_logprobs must be at most 5"}}, status=400)
        return Reply(_top(("no", -0.1), ("yes", -2.4)))

    with FakeServer(behave) as server:
        answers, served = rank(server, YESNO, YESNO, concurrency=1)
    assert [answer.choice for answer in answers] == [1, 1]
    assert [r.body["top_logprobs"] for r in server.requests] == [20, 5, 5]
    assert served.describe()["rank"]["top_logprobs"] == 5


def _vllm(request: Request) -> Reply:
    """A server whose tokens are words; each but the first has log probability -len(word)."""
    words = ["<s>", "user", "Is", "it?", "assistant:"]
    if request.body["messages"][-1]["role"] == "assistant":
        assert request.body["continue_final_message"] is True
        assert request.body["add_generation_prompt"] is False
        words += request.body["messages"][-1]["content"].split()
    positions: list[Any] = [None]
    for word in words[1:]:
        best = {"99": {"logprob": -0.01, "rank": 1, "decoded_token": "x"}}
        positions.append({word: {"logprob": -float(len(word)), "rank": 4}, **best})
    return Reply({**says("x"), "prompt_logprobs": positions})


@pytest.mark.parametrize(("rank_by", "scores"), [("sum", (-8.0, -7.0)), ("mean", (-8 / 3, -7.0))])
def test_vllm_scores_all_tokens_of_a_choice(rank_by: Any, scores: tuple[float, ...]) -> None:
    sample = Sample("1", (Image("a", JPEG), "Is it?"), choices=("yes it is.", "nothing"))
    with FakeServer(_vllm) as server:
        served = model(server, logprobs="vllm")
        ((_, answer),) = served.answer([sample], "rank", Decoding(rank_by=rank_by))
    assert isinstance(answer, Answer)
    assert answer.scores == pytest.approx(scores)
    assert answer.choice == (1 if rank_by == "sum" else 0)
    assert served.describe()["rank"]["way"] == "vllm"


def test_vllm_with_a_template_that_moves_the_reply_is_a_failure() -> None:
    def behave(request: Request) -> Reply:
        tokens = ["<s>", "a", "b"]
        if request.body["messages"][-1]["role"] == "assistant":
            tokens = ["<s>", "a", "think", "b", "yes"]
        entries = [{t: {"logprob": -1.0, "rank": 1}} for t in tokens]
        return Reply({**says("x"), "prompt_logprobs": [None, *entries[1:]]})

    with FakeServer(behave) as server:
        (answer,), _ = rank(server, YESNO, logprobs="vllm")
    assert isinstance(answer, Failure) and "template" in answer.error


def _echo_completion(request: Request) -> Reply:
    """Tokens are words with the space before them; log probability -len of the token."""
    text: str = request.body["prompt"] + " and"
    starts = [0] + [i for i, c in enumerate(text) if c == " "]
    tokens = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    values: list[float | None] = [None, *(-float(len(t)) for t in tokens[1:])]
    logprobs = {"tokens": tokens, "token_logprobs": values, "text_offset": starts}
    return Reply({"choices": [{"text": text, "logprobs": logprobs}]})


def test_echo_scores_the_choice_behind_a_text_prompt() -> None:
    sample = Sample("1", ("The sky ", "is "), choices=("blue", "very green"))
    with FakeServer(_echo_completion) as server:
        (answer,), _ = rank(server, sample, logprobs="echo")
    assert server.requests[1].body["prompt"] == "The sky is very green"
    assert server.requests[1].path == "/v1/completions"
    assert answer.scores == (-5.0, -11.0) and answer.choice == 0


def test_echo_that_a_server_ignores_is_not_taken_for_a_score() -> None:
    generated = {"text": " and", "logprobs": {"token_logprobs": [-0.1], "text_offset": [0]}}
    with FakeServer(always({"choices": [generated]})) as server:
        (answer,), _ = rank(server, YESNO, logprobs="echo")
    assert isinstance(answer, Failure) and "did not echo" in answer.error


def test_echo_refuses_images() -> None:
    sample = Sample("1", (Image("a", JPEG), "Is it?"), choices=("yes", "no"))
    with FakeServer() as server, pytest.raises(UsageError, match="text alone"):
        model(server, logprobs="echo").answer([sample], "rank", GREEDY)


def test_encode_is_a_usage_error() -> None:
    with FakeServer() as server, pytest.raises(UsageError, match="features"):
        model(server).answer(questions(1), "encode", GREEDY)
