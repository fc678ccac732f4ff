"""Judging from the command line, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fake_openai_server import FakeServer, Reply, says
from made_llava_bench import wild

ROOT = Path(__file__).resolve().parent.parent


def sightline(tmp_path, *words: object) -> "subprocess.CompletedProcess[str]":
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=env,
    )  # fmt: skip


def test_run_judge_and_compare(tmp_path):
    data, out = wild(tmp_path / "wild"), tmp_path / "run"
    asked = ("run", "-m", "constant:a guess", "-t", "llava_bench", "-d", data, "--out", out)
    done = sightline(tmp_path, *asked)
    assert done.returncode == 1 and "[incomplete]" in done.stdout  # nothing was scored yet
    assert f"sightline judge {out} --judge KIND:ADDRESS  (12 answers wait" in done.stdout
    with FakeServer(lambda _: Reply(says("8 6\nfine"))) as server:
        judge = ("--judge", "openai:m", "--judge-option", f"base_url={server.url}")
        price = ("--price-in", 10, "--price-out", 20)
        before = sightline(tmp_path, "judge", out, *judge, *price, "--dry-run")
        assert before.returncode == 0 and "verdicts    12 to ask" in before.stdout, before.stderr
        assert "price       about" in before.stdout and server.requests == []
        done = sightline(tmp_path, "judge", out, *judge, *price)
        assert done.returncode == 0, done.stderr
        assert "all                75.00" in done.stdout and "[complete]" in done.stdout
        assert "judged by openai:m; llava_bench/llava@1; 12 of 12 readable; 12 calls" in done.stdout
        assert "price 0.0013" in done.stdout  # 12 x (7 x 10 + 2 x 20) per million
        assert len(server.requests) == 12
        second = tmp_path / "second"
        done = sightline(tmp_path, *asked[:-1], second, *judge)
        assert done.returncode == 0 and "12 verdicts from the cache" in done.stdout, done.stderr
        assert len(server.requests) == 12
    done = sightline(tmp_path, "judge", out, "--judge", "oracle", "--no-cache", "-q")
    assert done.returncode == 0 and done.stdout == ""
    done = sightline(tmp_path, "judge-agreement", out, out / "verdicts-1.jsonl")
    assert done.returncode == 0 and "in common    12" in done.stdout, done.stderr
    found = json.loads(sightline(tmp_path, "judge-agreement", out, second, "--json").stdout)
    assert found["pairs"][0]["agreement"]["value"] == 1.0


def test_the_budget_ends_with_one_line_and_exit_code_1(tmp_path):
    data, out = wild(tmp_path / "wild"), tmp_path / "run"
    asked = ("run", "-m", "random", "-t", "llava_bench", "-d", data, "--out", out, "-q")
    reply = says("8 6") | {"usage": {"prompt_tokens": 500, "completion_tokens": 100}}
    with FakeServer(lambda _: Reply(reply)) as server:
        judge = ("--judge", "openai:m", "--judge-option", f"base_url={server.url}", "--no-cache")
        done = sightline(tmp_path, *asked, *judge, "--token-budget", 3000)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "the budget (3,000 tokens) is used up" in done.stderr
        part = len(server.requests)
        assert 0 < part < 12
        done = sightline(tmp_path, *asked, *judge, "--resume", "--token-budget", 100_000)
        assert done.returncode == 0 and len(server.requests) == 12, done.stderr


def test_mistakes_are_told_before_anything_is_asked(tmp_path):
    data, out = wild(tmp_path / "wild"), tmp_path / "run"
    asked = ("run", "-m", "random", "-t", "llava_bench", "-d", data, "--out", out)
    for words, why in (
        (("--judge", "oracel"), "did you mean oracle"),
        (("--judge", "oracle", "--budget", 1), "--price-in"),
        (("--judge", "oracle", "--repeats", 0), "must be 1 or more"),
        (("--judge", "oracle", "--cache", "x", "--no-cache"), "exclude each other"),
    ):
        done = sightline(tmp_path, *asked, *words)
        assert done.returncode == 2 and why in done.stderr and not out.exists()
    done = sightline(tmp_path, "judge", tmp_path / "nothing", "--judge", "oracle")
    assert done.returncode == 3 and "not a run folder" in done.stderr
