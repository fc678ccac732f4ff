"""Comparing runs: joined by what was asked, refused where it cannot be compared, right numbers."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gate_runs import edit, gold, noisy, record, right_but, score, task, wrong
from scipy import stats
from shared_data import shared

from harness.api import run
from harness.errors import DataError, UsageError
from harness.types import Metric, Score
from reports.comparable import join, load
from reports.compare import compare, compare_all
from reports.compare_text import text, to_json

ROOT = Path(__file__).resolve().parent.parent


def both(folder, base, cand, made=None, other=None, **more):
    """Compare two models on the toy task."""
    made = made or task()
    record(folder / "base", base, made)
    record(folder / "cand", cand, other or made)
    return compare(load(folder / "base"), load(folder / "cand"), **more)


def sightline(*words):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_one_flip_is_one_flip(tmp_path):
    found = both(tmp_path, right_but(), right_but(7), task(30))
    assert found.lost == [("q7", "q7")] and not found.won
    assert found.headline.difference == pytest.approx(-100 / 30)
    assert found.headline.change.p_worse == 0.5 and found.headline.change.p == 1
    assert (found.items, found.shared, found.same_text, found.coverage) == (30, 30, 29, 1.0)


def test_items_are_joined_by_what_they_ask_and_never_by_position(tmp_path):
    order = list(range(200))
    random.Random(3).shuffle(order)
    found = both(tmp_path, right_but(), right_but(5, 6), task(200), task(200, order=order))
    assert sorted(base for base, _ in found.lost) == ["q5", "q6"] and not found.differences
    assert found.headline.difference == pytest.approx(-1)


def test_the_same_question_in_two_groups_is_joined_within_its_group(tmp_path):
    from dataclasses import replace

    def twice(names):
        def samples():
            first = next(iter(task(1).samples()))
            for name, group in names:
                yield replace(first, id=name, groups={"split": group})

        return replace(task(1), samples=samples)

    record(tmp_path / "a", lambda i: gold(0), twice([("q1", "x"), ("q2", "y")]))
    record(tmp_path / "b", lambda i: gold(0), twice([("q8", "y"), ("q9", "x")]))
    found = join(load(tmp_path / "a"), load(tmp_path / "b"))
    assert {(a["id"], b["id"]) for a, b in found.pairs} == {("q1", "q9"), ("q2", "q8")}


def test_clusters_widen_the_interval(tmp_path):
    """All questions of a picture fall together: that is one observation, not ten."""
    bad = {i for i in range(400) if (i // 10) in (3, 17, 30)}
    say = lambda i: wrong(i) if i in bad else gold(i)  # noqa: E731
    apart = both(tmp_path / "a", gold, say, task(400, per_image=1))
    whole = both(tmp_path / "b", gold, say, task(400, per_image=10))
    assert apart.headline.difference == whole.headline.difference == -7.5
    assert apart.headline.change.p_worse < 0.001 and whole.headline.change.p_worse == 0.125
    assert whole.headline.change.error > 2.5 * apart.headline.change.error


def test_f1_has_its_own_test_and_falls_at_equal_accuracy(tmp_path):
    """The error of accuracy under the F1 of lmms-eval: 0.68 to 0.00 with p 0.56."""
    found = both(tmp_path, lambda i: "yes", lambda i: "no", task(200, headline="f1"))
    by_name = {m.name: m for m in found.metrics}
    assert by_name["accuracy"].difference == 0
    assert by_name["f1"].base == pytest.approx(200 / 3) and by_name["f1"].cand == 0
    assert by_name["f1"].change.p < 1e-6 and by_name["yes_ratio"].difference == -100
    low, high = by_name["f1"].change.interval()
    assert low <= by_name["f1"].difference <= high


def test_f1_interval_agrees_with_a_bootstrap_of_pictures(tmp_path):
    found = both(tmp_path, noisy(0.2, 1), noisy(0.3, 2), task(600, per_image=3, headline="f1"))
    draw = np.random.default_rng(0)
    rows = [(a["stats"], b["stats"], a["cluster"]) for a, b in found.pairs]
    clusters = sorted({cluster for _, _, cluster in rows})
    at = {c: [(a, b) for a, b, k in rows if k == c] for c in clusters}

    def f1(items, side):
        tp = sum(i[side]["gold"] * i[side]["yes"] for i in items)
        return 200 * tp / sum(i[side]["gold"] + i[side]["yes"] for i in items)

    drawn = []
    for _ in range(400):
        items = [pair for c in draw.choice(clusters, len(clusters)) for pair in at[c]]
        drawn.append(f1(items, 1) - f1(items, 0))
    assert np.std(drawn) == pytest.approx(found.headline.change.error, rel=0.15)


def test_slices_are_compared_and_corrected(tmp_path):
    found = both(tmp_path, gold, right_but(*range(0, 40)), task(400))
    first, second = found.slices
    assert (first.name, first.n, first.difference) == ("half=first", 200, -20.0)
    assert second.difference == 0 and found.slices_p["half=first"] < 0.001
    assert found.slices_p["half=second"] == 1


def test_missing_results_are_bounded_and_never_scored(tmp_path):
    found = both(tmp_path, gold, lambda i: None if i < 4 else gold(i), task(400))
    assert (found.shared, found.missing_cand, found.coverage) == (396, 4, 0.99)
    assert found.headline.difference == 0 and found.headline.n == 396
    assert found.worst.value == pytest.approx(-1) and found.best.value == 0 and found.bounded


@pytest.mark.parametrize("headline", ["f1", "yes_ratio"])
def test_missing_results_of_corpus_metrics_are_bounded_too(tmp_path, headline):
    gap = lambda i: None if i < 10 else gold(i)  # noqa: E731
    found = both(tmp_path, gold, gap, task(400, headline=headline))
    assert found.worst.value < -1e-9 <= found.best.value
    gone = both(tmp_path / "x", gold, lambda i: wrong(i) if i < 10 else gold(i),
                task(400, headline=headline))  # fmt: skip
    if headline == "f1":  # the worst that can be is that all of them were wrong
        assert found.worst.value == pytest.approx(gone.headline.change.value)


def test_less_is_better_where_the_metric_says_so(tmp_path):
    metrics = (Metric("errors", higher_is_better=False),)
    from dataclasses import replace

    made = replace(
        task(200), metrics=metrics, headline="errors",
        score=lambda s, a: Score(1 - score(s, a).value),
    )  # fmt: skip
    found = both(tmp_path, gold, right_but(*range(20)), made)
    assert found.headline.difference == 10 and found.headline.change.value == -10
    assert found.headline.change.p_worse < 0.001


def test_what_differs_is_listed_and_allowed_by_name(tmp_path):
    from dataclasses import replace

    from harness.types import Decoding

    other = replace(task(100), decoding=Decoding(max_tokens=99), scorer="toy@2")
    with pytest.raises(DataError) as refused:
        both(tmp_path, gold, gold, task(120), other)
    told = str(refused.value)
    assert "data (20 items)" in told and "120 items, 20 of them in no row" in told
    assert '"max_tokens": 16' in told and '"max_tokens": 99' in told and "toy@2" in told
    assert "--allow data --allow scorer --allow decoding" in told
    base, cand = load(tmp_path / "base"), load(tmp_path / "cand")
    with pytest.raises(DataError, match="decoding"):
        compare(base, cand, allow=["data", "scorer"])
    found = compare(base, cand, allow=["data", "scorer", "decoding"])
    assert found.shared == 100 and {d.name for d in found.differences} == {
        "data", "scorer", "decoding",
    }  # fmt: skip
    assert "ADVICE ONLY" in text([found])
    with pytest.raises(UsageError, match="no aspect to allow 'dat'; did you mean data"):
        compare(base, cand, allow=["dat"])


def test_another_seed_is_another_draw_of_the_same_thing(tmp_path):
    from gate_runs import Says

    for name, seed in (("a", 0), ("b", 1)):
        run(Says(gold, "m"), task(20), out=tmp_path / name, seed=seed)
    assert not compare(load(tmp_path / "a"), load(tmp_path / "b")).differences


def test_other_pixels_under_the_same_name_are_noticed(tmp_path):
    from small_data import write_pope

    folders = []
    for name in ("a", "b"):
        data = write_pope(tmp_path / name / "pope", images=4)
        if name == "b":
            shutil.copy(data / "images/scene_0001.jpg", data / "images/scene_0000.jpg")
        folders.append(tmp_path / name / "run")
        run("constant:yes", "pope", data=data, out=folders[-1])
    for folder in folders:  # a model without eyes keeps no pixels; say what it would have seen
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        for row in rows:
            row["pixels"] = ["1" if "b" in str(folder.parent.name) and "0000" in row["cluster"]
                             else row["cluster"]]  # fmt: skip
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        edit(folder, seal=None)
    with pytest.raises(DataError, match=r"images \(18 items\)"):
        compare(*map(load, folders))


def broken_run(folder, how):
    record(folder, right_but(1, 2, 3), task(60))
    rows = folder / "rows.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    found = json.loads((folder / "run.json").read_text())
    if how == "unfinished":
        edit(folder, status="running")
    elif how == "schema":
        edit(folder, schema=7)
    elif how == "metric":
        found["metrics"]["accuracy"]["value"] = 99.0
        edit(folder, metrics=found["metrics"])
    elif how == "counts":
        edit(folder, counts=found["counts"] | {"scored": 59, "unparsed": 1})
    elif how == "row":
        rows.write_text("".join(lines).replace('"score":0.0', '"score":1.0'))
    elif how == "answer":
        rows.write_text("".join(lines).replace('"text":"no"', '"text":"nah"', 1))
    elif how == "item":
        row = json.loads(lines[0])
        rows.write_text("".join([json.dumps(row | {"item": "0" * 16}) + "\n", *lines[1:]]))
    elif how == "cut":
        rows.write_text("".join(lines[:-1]))
    elif how == "twice":
        rows.write_text("".join([*lines[:-1], lines[0]]))
    elif how == "headless":
        edit(folder, fingerprint={})
    elif how == "cluster":
        rows.write_text("".join(lines).replace("scene_00003", "scene_00004"))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("unfinished", "the run is running, not finished"),
        ("schema", "schema 7"),
        ("metric", "metrics do not follow from the rows: accuracy (run.json 99.0"),
        ("counts", "its rows count"),
        ("row", "metrics do not follow from the rows"),
        ("answer", "is not what the run wrote when it ended (text differ"),
        ("item", "its items hash to"),
        ("cut", "59 rows, but run.json says 60"),
        ("twice", "an id comes twice"),
        ("headless", "edited by hand"),
        ("cluster", "is not what the run wrote when it ended"),
    ],
)
def test_a_run_that_is_not_what_was_run_is_refused(tmp_path, how, says):
    """Sealed or not; a seal only sees rows, and what it cannot see is seen by what follows."""
    broken_run(tmp_path / "run", how)
    in_rows = how in ("row", "answer", "item", "cut", "twice", "cluster")
    for found in ("sealed with when it ended (rows.jsonl" if in_rows else says, says):
        with pytest.raises(DataError) as refused:
            load(tmp_path / "run")
        assert found in str(refused.value) and str(tmp_path) in str(refused.value)
        edit(tmp_path / "run", seal=None)


def test_another_task_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is a run of gqa, .* of pope"):
        both(tmp_path, gold, gold, task(20), task(20, name="gqa"))


def test_nothing_in_common_is_refused(tmp_path):
    with pytest.raises(DataError, match="no item has a result in both runs"):
        both(tmp_path, gold, lambda i: "judge", task(20))


def test_a_hundred_thousand_items_and_ten_thousand_resamples():
    from harness.paired import sign_flip

    draw = np.random.default_rng(0)
    sums = draw.choice([-1.0, 0.0, 1.0], 100_000, p=[0.051, 0.9, 0.049])
    change = sign_flip(sums, np.ones(100_000))
    exact = stats.binomtest(int((sums > 0).sum()), int((sums != 0).sum()), alternative="less")
    assert change.p_worse == pytest.approx(exact.pvalue, abs=0.02)


def test_holm_is_over_tasks_and_json_holds_everything(tmp_path):
    sides = {}
    for side, say in (("base", gold), ("cand", right_but(1, 3, 5, 7, 9, 11))):
        for name in ("pope", "gqa"):
            record(tmp_path / side / name, say, task(200, name=name))
        sides[side] = {name: load(tmp_path / side / name) for name in ("pope", "gqa")}
    found = compare_all(sides["base"], sides["cand"])
    plain = json.loads(to_json(found))
    assert plain["schema"] == "sightline.compare/1"
    assert [t["task"] for t in plain["tasks"]] == ["gqa", "pope"]
    head = plain["tasks"][0]["headline"]
    assert head["p_holm"] == pytest.approx(2 * head["p"]) and head["p"] == 2 / 64
    del sides["cand"]["gqa"]
    with pytest.raises(DataError, match="gqa \\(baseline\\)"):
        compare_all(sides["base"], sides["cand"])


def test_the_command(tmp_path):
    record(tmp_path / "a", gold, task(40))
    record(tmp_path / "b", right_but(3), task(40))
    record(tmp_path / "c", gold, task(50))
    done = sightline("compare", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert "* accuracy" in done.stdout and "right -> wrong: q3" in done.stdout
    assert json.loads(sightline("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    refused = sightline("compare", tmp_path / "a", tmp_path / "c")
    assert refused.returncode == 3 and "data (10 items)" in refused.stderr
    (tmp_path / "empty").mkdir()
    empty = sightline("compare", tmp_path / "a", tmp_path / "empty")
    assert empty.returncode == 3 and "no run folder in it" in empty.stderr


def test_two_sets_of_real_answers(tmp_path):
    answers, data = shared("gqa/GQA_Result_compare.csv"), shared("gqa")
    for name, column in (("a", "pred_ans"), ("b", "pred_ans_CLUSTER")):
        options = {"id_field": "question_id", "answer_field": column}
        run(f"recorded:{answers}", "gqa", data=data, out=tmp_path / name, options=options)
    found = compare(load(tmp_path / "a"), load(tmp_path / "b"))
    assert (found.items, len(found.lost), len(found.won)) == (12_578, 371, 368)
    change = found.headline.change
    assert change.clusters == 398 and change.value == pytest.approx(100 * -3 / 12_578)
    by_hand = stats.binomtest(368, 739).pvalue  # as if questions were independent
    assert change.p == pytest.approx(by_hand, abs=0.1) and not found.same_model


def test_a_model_of_ours_is_called_by_the_run_that_trained_it():
    from reports.comparable import short

    assert short("transformers:trained/good/model") == "transformers:good"
    assert short("transformers:trained/good/checkpoint-40/") == "transformers:good/checkpoint-40"
    assert short("blind:transformers:hub/llava-1.5-7b-hf") == "blind:transformers:llava-1.5-7b-hf"
    assert short("oracle") == "oracle"
    assert short("transformers:model") == "transformers:model"
