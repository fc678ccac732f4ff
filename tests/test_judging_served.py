"""Judging over HTTP: a server that is slow, broken or gone, the cache, kill -9 and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_openai_server import FakeServer, Reply, Request, says
from judged_runs import QUESTIONS, answered, answers_in, judged, named, scripted, served
from openai_cases import nothing_left, short_waits

from harness.api import load, run
from harness.errors import UsageError
from harness.find import make_task
from harness.record import read_lines
from harness.types import Failure

FIXTURES = (short_waits, nothing_left)
ROOT = Path(__file__).resolve().parent.parent


def grade(request: Request) -> Reply:
    """Judge as a server: right answers get 10 10, others 8 4."""
    one, two = answers_in(request.text)
    return Reply(says("10 10\nboth right" if one == two else "8 4\nthe first is better"))


ALL = round(100 * (2 * 10 + 10 * 4) / (2 * 10 + 10 * 8), 1)
"""What `grade` makes of `answered`."""


def lines(folder: Path, name: str = "verdicts.jsonl") -> list[dict]:
    return list(read_lines(folder / name))


# Over HTTP ---------------------------------------------------------------------------------


def test_a_served_judge_scores_a_run(tmp_path):
    task, folder = answered(tmp_path)
    before = load(folder)
    assert before.run["status"] == "incomplete" and before.counts["unjudged"] == QUESTIONS
    assert before.metrics["all"]["value"] is None
    with FakeServer(grade) as server:
        record = judged(folder, task, served(server))
    assert record.run["status"] == "complete" and record.metrics["all"]["value"] == ALL
    body = server.requests[0].body
    assert body["model"] == "judge-1" and body["temperature"] == 0.2 and body["max_tokens"] == 1024
    system, user = body["messages"]
    assert system["role"] == "system" and system["content"].endswith("the quality of the answer.")
    assert user["content"].startswith("[Context]\nA photo of the thing 001.")
    assert len(server.requests) == QUESTIONS
    section = record.run["judging"]
    assert section["counts"] == {
        "verdicts": 12, "readable": 12, "unreadable": 0, "open": 0, "cached": 0,
    }  # fmt: skip
    assert (section["tokens_in"], section["tokens_out"]) == (7 * 12, 2 * 12)
    assert section["judges"][0]["identity"]["model"] == "judge-1"
    assert section["judges"][0]["description"]["seen"]["models"] == {"fake-2026": 12}
    frame = record.frame()
    assert list(frame["status"]) == ["scored"] * 12
    assert json.loads(frame["stats"][1])["votes"] == [{"ref": 10.0, "cand": 10.0}]


def test_the_answers_are_not_touched_and_the_model_is_not_asked(tmp_path):
    task, folder = answered(tmp_path)
    rows = (folder / "rows.jsonl").read_bytes()
    with FakeServer(grade) as server:
        judged(folder, task, served(server))
    assert (folder / "rows.jsonl").read_bytes() == rows


TROUBLE = [
    Reply({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"}),
    Reply({"error": {"message": "oops"}}, status=500),
    Reply({"error": {"message": "busy"}}, status=503, headers={"Retry-After": "0"}),
    Reply(b'{"choices": [{"mess'),
    Reply(says("never read"), cut=30),
    Reply(b"<html>gateway</html>", headers={"Content-Type": "text/html"}),
    Reply(b"10 10"),
    Reply({"choices": []}),
    Reply(says("too late"), delay=1.5),
    Reply(says(None)),
]


@pytest.mark.parametrize("trouble", TROUBLE[:-1], ids=range(len(TROUBLE) - 1))
def test_what_may_pass_is_asked_again(tmp_path, trouble):
    task, folder = answered(tmp_path)

    def behave(request: Request) -> Reply:
        return trouble if request.number % 4 == 1 else grade(request)

    with FakeServer(behave) as server:
        record = judged(folder, task, served(server, timeout=1, concurrency=4))
    assert record.run["status"] == "complete" and record.metrics["all"]["value"] == ALL


def test_an_outage_leaves_rows_unjudged_and_no_number(tmp_path):
    task, folder = answered(tmp_path)
    with (
        FakeServer(lambda _: Reply({"error": "down"}, status=500)) as server,
    ):
        record = judged(folder, task, served(server, retries=0))
    assert record.run["status"] == "incomplete" and record.counts["unjudged"] == QUESTIONS
    assert all(metric["value"] is None for metric in record.metrics.values())
    row = next(record.rows())
    assert row["score"] is None and "the judge gave no verdict: HTTP 500" in row["error"]
    assert record.run["judging"]["counts"]["open"] == QUESTIONS


def test_a_dead_port_is_no_number_either_and_the_next_judging_goes_on(tmp_path):
    task, folder = answered(tmp_path)
    with FakeServer(grade) as server:
        url = server.url
    record = judged(folder, task, served(server, base_url=url, retries=0))
    assert record.counts["unjudged"] == QUESTIONS and record.metrics["all"]["value"] is None
    with FakeServer(grade) as other:  # the same judge on another port
        record = judged(folder, task, served(other))
    assert record.run["status"] == "complete" and record.metrics["all"]["value"] == ALL
    assert record.run["judgings"] == []  # one judging, interrupted


def test_a_partial_outage_costs_those_rows_and_they_are_asked_again(tmp_path):
    task, folder = answered(tmp_path)

    def behave(request: Request) -> Reply:
        bad = "What is 4" in request.text or "What is 7" in request.text
        return Reply({"error": "no"}, status=500) if bad else grade(request)

    with FakeServer(behave) as server:
        record = judged(folder, task, served(server, retries=1))
    assert record.counts["unjudged"] == 2 and record.metrics["all"]["n"] == 10
    with FakeServer(grade) as server:
        record = judged(folder, task, served(server))
    assert len(server.requests) == 2 and record.run["status"] == "complete"
    assert record.metrics["all"]["value"] == ALL


def test_a_wrong_key_ends_at_once_and_keeps_earlier_verdicts(tmp_path):
    task, folder = answered(tmp_path)
    with FakeServer(grade) as server:
        judged(folder, task, served(server))
    before = (folder / "verdicts.jsonl").read_bytes()
    refuses = FakeServer(lambda _: Reply({"error": {"message": "bad key"}}, status=401))
    with refuses as server, pytest.raises(UsageError, match="does not accept the key"):
        judged(folder, task, served(server, system="another judge"))
    record = load(folder)
    assert (folder / "verdicts.jsonl").read_bytes() == before
    assert record.run["status"] == "complete" and record.metrics["all"]["value"] == ALL
    assert record.frame()["status"].tolist() == ["scored"] * 12


# Cache -------------------------------------------------------------------------------------


def test_what_was_paid_for_once_is_not_asked_again(tmp_path):
    task, folder = answered(tmp_path)
    cache = tmp_path / "cache"
    with FakeServer(grade) as server:
        judged(folder, task, served(server), cache=cache, repeats=2)
        assert len(server.requests) == 24
    (tmp_path / "again").mkdir()
    run(f"recorded:{tmp_path / 'answers.jsonl'}", task, out=tmp_path / "again" / "run")
    with FakeServer(grade) as server:
        record = judged(tmp_path / "again" / "run", task, served(server), cache=cache, repeats=2)
        assert server.requests == []
    section = record.run["judging"]
    assert record.metrics["all"]["value"] == ALL and section["counts"]["cached"] == 24
    assert section["calls"] == 0 and section["tokens_in"] == 0
    with FakeServer(grade) as server:
        judged(tmp_path / "again" / "run", task, served(server), cache=cache, repeats=3)
        assert len(server.requests) == 12  # the third vote is new
        judged(tmp_path / "again" / "run", task, served(server), cache=cache, repeats=3, fresh=True)
        assert len(server.requests) == 48


def test_another_judge_prompt_or_decoding_never_finds_an_old_verdict(tmp_path):
    task, folder = answered(tmp_path)
    cache = tmp_path / "cache"
    with FakeServer(grade) as server:
        judged(folder, task, served(server), cache=cache)
        for options in ({"system": "be kind"}, {"extra_body": '{"top_p": 0.5}'}):
            before = len(server.requests)
            judged(folder, task, served(server, **options), cache=cache)
            assert len(server.requests) - before == 12
        before = len(server.requests)
        swapped = make_task("llava_bench/swap", str(tmp_path / "data"))
        run(f"recorded:{tmp_path / 'answers.jsonl'}", swapped, out=tmp_path / "swap")
        judged(tmp_path / "swap", swapped, served(server), cache=cache)
        # The plain order is the same request; so is the other one of the two equal answers.
        assert len(server.requests) - before in (10, 12)


def test_failures_and_unreadable_words_are_never_kept(tmp_path):
    task, folder = answered(tmp_path)
    cache = tmp_path / "cache"
    words = {"3": "hm", "4": Failure("down")}
    first = scripted(lambda s, d: words.get(s.id, "8 4"))
    judged(folder, task, first, cache=cache)
    second = scripted(lambda s, d: "8 4")
    record = judged(folder, task, second, cache=cache)
    assert [s.id for s, _ in second.model.asked] == ["4"]  # the same judging goes on
    run(f"recorded:{tmp_path / 'answers.jsonl'}", task, out=tmp_path / "b")
    third = scripted(lambda s, d: "8 4")
    record = judged(tmp_path / "b", task, third, cache=cache)
    assert [s.id for s, _ in third.model.asked] == ["3"]
    assert record.run["status"] == "complete"


def test_a_damaged_cache_is_named(tmp_path):
    task, folder = answered(tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "verdicts-1.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(UsageError, match=r"verdicts-1.sqlite cannot be used.*--no-cache"):
        judged(folder, task, named("oracle"), cache=cache)


# Crashes -----------------------------------------------------------------------------------

CHILD = """
import sys
from harness.find import make_model, make_task
from harness.judging import How, Judge, judge
folder, data, url = sys.argv[1:]
options = {"base_url": url, "concurrency": 2}
found = Judge(make_model("openai:judge-1", options), "openai:judge-1", options)
judge(folder, make_task("llava_bench", data), How([found]))
"""


def test_kill_9_in_the_middle_loses_no_verdict_and_pays_none_twice(tmp_path):
    task, folder = answered(tmp_path)

    def slow(request: Request) -> Reply:
        return Reply(grade(request).body, delay=0.15)

    with FakeServer(slow) as server:
        words = [sys.executable, "-c", CHILD, str(folder), str(tmp_path / "data"), server.url]
        child = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "OPENAI_API_KEY": "x"})
        path = folder / "verdicts.jsonl"
        while not path.exists() or path.read_bytes().count(b"\n") < 4:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = path.read_bytes()
        assert 4 <= kept.count(b"\n") < 12
        path.write_bytes(kept + b'{"id": "11", "vote": 0, "swap')  # torn by a power cut
        half = load(folder)
        assert half.run["status"] == "running"
        assert sum(row["status"] == "scored" for row in half.rows()) == kept.count(b"\n")
        assert half.frame()["status"].eq("scored").sum() == kept.count(b"\n")
        before = len(server.requests)
        record = judged(folder, task, served(server))
        assert len(server.requests) - before == 12 - kept.count(b"\n")
    assert path.read_bytes().startswith(kept)
    assert record.run["status"] == "complete" and record.metrics["all"]["value"] == ALL
    assert sorted(line["id"] for line in lines(folder)) == sorted(map(str, range(12)))
