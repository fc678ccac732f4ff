"""Tables of evaluation by people: golden numbers, rates by hand, a judge model beside them."""

import json
import subprocess
import sys
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from human_batches import (
    answer,
    corpus,
    pairs,
    ratings,
    triple,
    two_runs,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import human_judge, judging
from harness.errors import DataError, UsageError
from harness.judging import How
from harness.types import Answer
from reports.human import agree, answers, criteria, judged, pictures
from reports.human import table as tables
from reports.human.text import text


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return two_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def batch(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("batch")
    return out, pairs(runs, out, samples=40)


# The example of Fleiss 1971 as it is reprinted everywhere: 10 subjects, 14 raters, 5 categories.
FLEISS = """0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2
6 5 2 1 0|0 2 2 3 7"""
# Krippendorff 2011, section C: four observers, twelve units, with gaps.
KRIPPENDORFF = """1 2 3 3 2 1 4 1 2 . . .|1 2 3 3 2 2 4 1 2 5 . 3|. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""


def test_fleiss_kappa_is_the_published_one():
    counts = [list(map(int, row.split())) for row in FLEISS.replace("\n", "|").split("|")]
    found = agree.measures([str(i) for i in range(10)], counts, 14, "nominal")
    assert found["fleiss_kappa"]["value"] == pytest.approx(0.210, abs=5e-4)
    assert found["agreement"]["value"] == pytest.approx(0.378, abs=5e-4)
    assert found["fleiss_kappa"]["low"] < 0.21 < found["fleiss_kappa"]["high"]


def test_krippendorff_alpha_is_the_published_one():
    rows = [row.split() for row in KRIPPENDORFF.replace("\n", "|").split("|")]
    counts = [[column.count(str(v)) for v in range(1, 6)] for column in zip(*rows, strict=True)]
    names = [str(i) for i in range(12)]
    for distance, published in (("nominal", 0.743), ("ordinal", 0.815)):
        alpha = agree.measures(names, counts, 4, distance)["krippendorff_alpha"]
        assert alpha["value"] == pytest.approx(published, abs=5e-4)
        assert alpha["n"] == 11  # the last unit has one value


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=3, max_size=12))
def test_measures_are_what_counting_by_hand_gives(votes):
    counts = [[row.count(v) for v in range(3)] for row in votes]
    found = agree.measures([str(i) for i in range(len(votes))], counts, 3, "nominal")
    same = [sum(a == b for a, b in combinations(row, 2)) / 3 for row in votes]
    assert found["agreement"]["value"] == pytest.approx(np.mean(same))
    shares = np.array([[sum(row.count(v) for row in votes) for v in range(3)]]) / (3 * len(votes))
    chance = float((shares**2).sum())
    kappa = found["fleiss_kappa"]["value"]
    if chance == 1:
        assert kappa is None
    else:
        assert kappa == pytest.approx((np.mean(same) - chance) / (1 - chance))
    for one in found.values():
        if one["low"] is not None:
            assert -1 <= one["low"] <= one["value"] + 1e-9
            assert one["value"] - 1e-9 <= one["high"] <= 1


@pytest.mark.parametrize("picks", list(product(("a", "tie", "b"), repeat=3)))
def test_majority_of_three(picks):
    most, n = Counter(picks).most_common(1)[0]
    assert tables.majority(picks, 3) == (most if n >= 2 else None)


def test_majority_counts_those_who_were_asked():
    assert tables.majority(["a"], 3) is None  # two did not answer
    assert tables.majority(["a", "a"], 3) == "a"
    assert tables.majority(["a", "b"], 2) is None
    assert tables.majority([2], 1) == 2
    assert tables.majority([], 3) is None


def test_same_words_are_ties_that_nobody_is_asked_about(runs, tmp_path):
    key = pairs(runs, tmp_path, samples=72, annotators=1)
    assert len(key["same"]) == 12 and len(key["items"]) == 60
    votes = answers.read(answers.read_key(tmp_path), answer(tmp_path, key, lambda *_: "a"))
    found = tables.table(answers.read_key(tmp_path), tables.said(votes, 1))
    row = found["criteria"]["overall"]
    assert row["tie"]["value"] == pytest.approx(12 / 72) and row["n"] == 72


def test_rates_intervals_and_sign_test_are_those_computed_by_hand(batch, tmp_path):
    out, key = batch
    wins = {item: ("a", "a", "b", "tie", None)[at % 5] for at, item in enumerate(key["items"])}
    ids = {value["id"]: wins[name] for name, value in key["items"].items()}

    def say(item, criterion, who):
        if criterion != "overall":
            return "tie"
        won = ids[item["id"]]
        return ("a", "tie", "b")[int(who) - 1] if won is None else won if who != "3" else "tie"

    known = answers.read_key(out)
    votes = answers.read(known, answer(tmp_path, key, say))
    found = tables.table(known, tables.said(votes, 3))
    row = found["criteria"]["overall"]
    expected = [*(won for won in wins.values() if won), *["tie"] * len(key["same"])]
    assert row["n"] == len(expected) and row["no_majority"] == sum(w is None for w in wins.values())
    for side in ("a", "tie", "b"):
        assert row[side]["value"] == pytest.approx(expected.count(side) / len(expected))
        assert row[side]["low"] <= row[side]["value"] <= row[side]["high"]
    assert row["a"]["clusters"] == 4  # pictures
    # the difference: leave out one picture at a time
    sign = {"a": 1, "tie": 0, "b": -1}
    by = {}
    for name, won in wins.items():
        if won:
            by.setdefault(key["items"][name]["cluster"], []).append(sign[won])
    for pair in key["same"]:
        by.setdefault(pair["cluster"], []).append(0)
    every = [number for own in by.values() for number in own]
    without = np.array([
        (sum(every) - sum(own)) / (len(every) - len(own)) for own in by.values()
    ])  # fmt: skip
    error = np.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    net = row["a_minus_b"]
    assert net["value"] == pytest.approx(np.mean(every))
    assert net["high"] - net["value"] == pytest.approx(3.182446 * error, rel=1e-4)
    signs = [np.sign(sum(own)) for own in by.values()]
    better, worse = signs.count(1), signs.count(-1)
    assert (row["sign_test"]["a"], row["sign_test"]["b"]) == (better, worse)
    assert found["criteria"]["correctness"]["sign_test"]["p"] is None
    assert found["criteria"]["correctness"]["tie"]["value"] == 1.0


def test_the_sign_test_is_exact():
    found = tables._sign_test([str(i) for i in range(12)], ["a"] * 9 + ["b"] + ["tie"] * 2)
    assert found["p"] == pytest.approx(2 * (1 + 10) / 2**10)
    together = tables._sign_test(["x", "x", "y"], ["a", "b", "a"])
    assert together == {"a": 1, "b": 0, "p": 1.0, "p_holm": None}


def test_ratings_compare_corpora_on_what_they_share(tmp_path):
    whole = corpus(tmp_path, [triple(i) for i in range(20)], "all")
    kept = corpus(tmp_path, [triple(i) for i in range(20) if i % 4 == 3], "kept")
    key = ratings([whole, kept], tmp_path / "batch", samples=20, annotators=2)
    assert len(key["items"]) == 20  # what both have is asked once
    assert sum(item["sources"] == (0, 1) for item in key["items"].values()) == 5

    def say(item, criterion, who):
        good = int(item["id"][1:]) % 4 == 3
        return 3 if good else 1 if criterion == "qa" else 2 + (who == "2")

    known = answers.read_key(tmp_path / "batch")
    votes = answers.read(known, answer(tmp_path, key, say))
    found = tables.table(known, tables.said(votes, 2))
    qa, why = found["criteria"]["qa"], found["criteria"]["rationale"]
    assert [row["mean"]["value"] for row in qa["sources"]] == [1.5, 3.0]
    assert [row["mean"]["value"] for row in why["sources"]] == [1.5, 3.0]  # rejected with its QA
    assert qa["differences"][0]["b_minus_a"] == pytest.approx(1.5)
    assert [share["value"] for share in found["accepted"]] == [0.25, 1.0]
    assert qa["sources"][0]["majority"] == {"reject": 15, "maybe": 0, "accept": 5}
    assert qa["krippendorff_alpha"]["value"] == 1.0
    made = answers.write(known, votes, tmp_path / "votes")
    assert "annotations.jsonl" in {path.name for path in made}
    assert answers.read_votes(tmp_path / "votes", known) == votes
    assert "accepted" in text(found) and "all" in text(found)


def test_what_cannot_be_judged_is_no_vote(batch, tmp_path):
    out, key = batch
    files = answer(tmp_path, key, lambda *_: "b")
    for path in files[:2]:
        found = json.loads(path.read_text())
        found["answers"][0]["unclear"] = True
        path.write_text(json.dumps(found))
    known = answers.read_key(out)
    votes = answers.read(known, files)
    found = tables.table(known, tables.said(votes, 3))
    few = found["criteria"]["overall"]["too_few_votes"]
    assert sum(vote.unclear for vote in votes) == 2 and few in (0, 1)
    assert sum(row["unclear"] for row in found["annotators"]) == 2


def test_a_judge_stands_beside_people(batch, tmp_path):
    out, key = batch
    known = answers.read_key(out)
    votes = answers.read(known, answer(tmp_path, key, lambda *_: "a"))
    lines = []
    for at, item in enumerate(key["items"]):
        for swapped in (False, True):
            sure = {c["name"]: 1.0 for c in key["criteria"]}
            unsure = {name: -1.0 if swapped else 1.0 for name in sure}  # follows the place
            stats = None if at == 0 and swapped else unsure if at == 1 else sure
            lines.append({"id": item, "vote": 0, "swapped": swapped, "stats": stats})
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = tables.table(known, tables.said(votes, 3), ("\x1b[31mbad", judged.read(path, known)))
    row = found["judge"]["criteria"]["overall"]
    n, same = len(key["items"]), len(key["same"])
    assert row["too_few_votes"] == 1 and row["n"] == n - 1 + same
    assert row["a"]["value"] == pytest.approx((n - 2) / (n - 1 + same))
    assert row["tie"]["value"] == pytest.approx((1 + same) / (n - 1 + same))
    together = found["judge"]["with_people"]["overall"]
    assert together["agreement"]["value"] == pytest.approx((n - 2) / (n - 1))
    assert "\x1b" not in text(found) and "people and judge" in text(found)
    path.write_text(json.dumps({**lines[0], "id": "x"}) + "\n")
    with pytest.raises(DataError, match="not of batch"):
        judged.read(path, known)
    path.write_text(json.dumps({**lines[0], "stats": {"overall": 5}}) + "\n")
    with pytest.raises(DataError, match="not a file of verdicts"):
        judged.read(path, known)


def sightline(*words, **more):
    command = [sys.executable, "-m", "harness", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


class Judge:
    """A judge in this process: likes the longer answer; talks where it is told to."""

    name = "scripted"

    def __init__(self, talks=()):
        self.asked, self.talks = [], talks

    def describe(self):
        return {"kind": "scripted"}

    def answer(self, samples, ask, decoding):
        for at, sample in enumerate(samples):
            words = sample.prompt[-1]
            self.asked.append(sample)
            first = words.partition("[Answer 1]\n")[2].partition("\n[End of answer 1]")[0]
            second = words.partition("[Answer 2]\n")[2].partition("\n[End of answer 2]")[0]
            better = 1 if len(first) > len(second) else 2
            lines = [f"{name}: {better}" for name, _ in criteria._PAIR]
            lines += ["I hope this helps!"] if sample.id in self.talks else []
            yield at, Answer("\n".join(lines))


def test_a_model_is_asked_the_same_in_both_orders_and_goes_on(batch, tmp_path):
    out, key = batch
    talks = {next(iter(key["items"]))}
    model = Judge(talks)
    how = How([judging.Judge(model, "scripted:x")])
    asked = human_judge.samples(key, pictures.drawn(key, "embed"))
    counts = human_judge.ask(key, asked, how, tmp_path / "judge")
    n = len(key["items"])
    assert counts == {"readable": 2 * n - 2, "unreadable": 2, "failed": 0}
    assert len(model.asked) == 2 * n + 2  # what cannot be read is asked for once more
    assert model.asked[0].prompt[0].read().startswith(b"\x89PNG")
    path = tmp_path / "judge" / human_judge.FILE
    known = answers.read_key(out)
    said = judged.read(path, known)
    for item, (vote,) in said.votes.items():
        (_, a), (_, b) = key["items"][item]["texts"]
        assert set(vote.picks.values()) == {"a" if len(a) > len(b) else "b"}
    assert set(said.votes) == set(key["items"]) - talks
    assert judged.name(path) == "scripted:x"
    # half of it is lost: only that is asked again
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10]) + lines[10][:7])
    again = Judge(talks)
    human_judge.ask(key, asked, How([judging.Judge(again, "scripted:x")]), tmp_path / "judge")
    assert 0 < len(again.asked) <= len(model.asked) - 10
    assert judged.read(path, known) == said
    with pytest.raises(UsageError, match="another judge"):
        human_judge.ask(key, asked, How([judging.Judge(again, "other:x")]), tmp_path / "judge")


@pytest.mark.parametrize(("text", "stats"), [
    ("qa: 3\nrationale: 2", {"qa": 3, "rationale": 2}),
    ("  qa : 1\n\n", {"qa": 1, "rationale": 1}),  # rejected with its question
    ("qa: 1\nrationale: 3", {"qa": 1, "rationale": 1}),
    ("qa: 4\nrationale: 2", None), ("qa: 3", None), ("qa: 3\nqa: 2\nrationale: 1", None),
    ("qa: 3\nrationale: 2\nlooks: 1", None), ("QA: 3\nrationale: 2", None), ("", None),
    ("qa: three\nrationale: 2", None), ("qa: 3\nrationale: 2\nbecause …", None),
])  # fmt: skip
def test_a_judges_words_are_read_strictly(tmp_path, text, stats):
    key = ratings([corpus(tmp_path, [triple(0)])], tmp_path / "batch")
    found = human_judge.rubric(key).read(text, False)
    assert (None if found is None else found.stats) == stats


def test_the_command_line_asks_a_judge(batch, tmp_path):
    out, key = batch
    files = answer(tmp_path, key, lambda *_: "a")
    known = answers.read_key(out)
    answers.write(known, answers.read(known, files), tmp_path)
    says = "constant:" + "\n".join(f"{one['name']}: 1" for one in key["criteria"])
    words = ("human", "judge", out, "--judge", says, "--no-cache", "--out", tmp_path / "judge")
    told = sightline(*words, "--dry-run")
    assert told.returncode == 0 and f"{2 * len(key['items'])} to ask" in told.stdout, told.stderr
    assert sightline(*words).returncode == 0
    table = sightline("human", "table", out, "--votes", tmp_path, "--judge", tmp_path / "judge",
                      "--out", tmp_path, "--json")  # fmt: skip
    found = json.loads(table.stdout)["judge"]["criteria"]["overall"]
    assert found["tie"]["value"] == 1.0  # it always prefers the first place, so neither
