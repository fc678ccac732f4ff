"""LSKD's labels from two annotators, the threshold's curve, the filter; their commands."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_blip2
from hypothesis import given, settings
from hypothesis import strategies as st
from small_blip2 import LEFT, RIGHT

from harness.errors import DataError, UsageError
from trainers import recipe as recipes
from trainers.localized import curve, labels, triples
from trainers.localized import filter as filtering
from trainers.localized.labels import Rating, label


def run(words: list[str], folder: Path, **more: Any) -> Any:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "harness", *words]
    home = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": home, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **more
    )


# ---- Labels ----


@pytest.mark.parametrize("scale", ["thirds", "raw", "unit"])
def test_labels_of_all_81_combinations(scale: str) -> None:
    """Written out by hand from section 2.3 and its footnote."""
    for a, b, c, d in product((1, 2, 3), repeat=4):
        found = label([Rating(a, c), Rating(b, d)], scale)
        c, d = (1 if a == 1 else c), (1 if b == 1 else d)
        mean_qa, mean_r = (a + b) / 2, (c + d) / 2
        if scale == "thirds":
            mean_qa, mean_r = mean_qa / 3, mean_r / 3
        elif scale == "unit":
            mean_qa, mean_r = (mean_qa - 1) / 2, (mean_r - 1) / 2
        assert found.accept == (0 if 1 in (a, b, c, d) else 1)
        assert found.qa_score == pytest.approx(0 if 1 in (a, b) else mean_qa)
        assert found.r_score == pytest.approx(0 if 1 in (c, d) else mean_r)


def test_some_labels_as_numbers() -> None:
    assert label([Rating(3, 3), Rating(2, 3)]) == labels.Label(1, 2.5 / 3, 1.0)
    assert label([Rating(1, None), Rating(3, 3)]) == labels.Label(0, 0.0, 0.0)
    assert label([Rating(3, 1), Rating(3, 2)]) == labels.Label(0, 1.0, 0.0)
    assert label([Rating(2, 2), Rating(2, 3)], "unit") == labels.Label(1, 0.5, 0.75)


def test_ratings_that_make_no_label() -> None:
    for ratings, words in (
        ([Rating(3, 3)], "1 ratings; 2"),
        ([Rating(3, 3)] * 3, "3 ratings; 2"),
        ([Rating(4, 3), Rating(3, 3)], "1, 2 or 3"),
        ([Rating(3, None), Rating(3, 3)], "has no rating"),
    ):
        with pytest.raises(DataError, match=words):
            label(ratings)
    with pytest.raises(UsageError, match="thirds"):
        label([Rating(3, 3)] * 2, "third")


def test_labels_by_the_command_line(tmp_path: Path) -> None:
    corpus = small_blip2.squares(tmp_path / "squares")
    found = list(triples.read(corpus / "train.jsonl"))
    bare = [replace(one, extra={}) for one in found]
    triples.write(tmp_path / "corpus.jsonl", bare)
    ratings = []
    for one in bare[:12]:  # four stay unrated, and are left out
        good = one.id.endswith("1")
        ratings.append({"id": one.id, "annotator": "a", "qa": 3, "r": 3 if good else 1})
        ratings.append({"id": one.id, "annotator": "b", "qa": 2 if good else 1, "r": None if
                        not good else 3})  # fmt: skip
    small_blip2.write(tmp_path / "ratings.jsonl", ratings)
    words = ["critic", "labels", "--corpus", "corpus.jsonl", "--ratings", "ratings.jsonl",
             "--out", "out", "--evaluate", "0.4"]  # fmt: skip
    done = run(words, tmp_path)
    assert done.returncode == 0, done.stderr
    sides = {
        name: list(triples.read(tmp_path / "out" / f"{name}.jsonl")) for name in ("train", "eval")
    }
    assert sides["train"] and sides["eval"]
    assert not {one.image for one in sides["train"]} & {one.image for one in sides["eval"]}
    every = {one.id: labels.of(one) for side in sides.values() for one in side}
    assert every == {
        one.id: labels.Label(1, 2.5 / 3, 1.0) if one.id.endswith("1") else
        labels.Label(0, 0.0, 0.0) for one in bare[:12]
    }  # fmt: skip
    ratings[0]["id"] = "nobody"
    small_blip2.write(tmp_path / "ratings.jsonl", ratings)
    done = run(words, tmp_path)
    assert done.returncode == 3 and "1 ratings" in done.stderr and "nobody" in done.stderr


def test_a_rating_is_refused_by_its_line(tmp_path: Path) -> None:
    for text, words in (
        ('{"id": "a", "qa": 3, "r": 3}\nno', "line 2: not JSON"),
        ('{"id": "a", "qa": "3", "r": 3}', "line 1: no rating"),
        ('{"qa": 3, "r": 3}', "line 1: no rating"),
        ('{"id": "a", "annotator": "x", "qa": 3, "r": 3}\n' * 2, "line 2: x rated .* twice"),
    ):
        path = tmp_path / "ratings.jsonl"
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            labels.read(path)


# ---- Curve ----


def judged(scores: list[float], accept: list[int], images: list[int] | None = None) -> Any:
    numbers = images or list(range(len(scores)))
    return curve.Judged(np.array(scores), np.array(accept, bool), np.array(numbers))


def test_the_curve_by_hand() -> None:
    """Ten triples; numbers counted on paper."""
    scores = [0.95, 0.9, 0.85, 0.7, 0.6, 0.4, 0.35, 0.2, 0.1, 0.05]
    accept = [1, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    one = judged(scores, accept)
    at = curve.classified(one)
    assert (at["precision"], at["recall"]) == (3 / 5, 3 / 4)
    assert at["f1"] == pytest.approx(2 / 3)
    assert at["macro"]["precision"] == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert at["macro"]["recall"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert at["accuracy"] == 0.7
    points = curve.points(one, [0.0, 0.5, 0.8, 0.99], resamples=200)
    assert [point["n"] for point in points] == [10, 5, 3, 0]
    assert [point["precision"] for point in points] == [0.4, 0.6, pytest.approx(2 / 3), None]
    assert curve.threshold_at(one, 0.2) == 0.85
    assert (one.score > curve.threshold_at(one, 1.0)).all()
    # pairs (accepted, rejected): 24; accepted above: 6 + 6 + 5 + 4
    assert curve.area(one) == pytest.approx(21 / 24)
    ties = judged([0.5, 0.5, 0.5], [1, 0, 0])
    assert curve.area(ties) == 0.5
    assert curve.classified(judged([0.1, 0.2], [1, 0]))["f1"] == 0


def test_intervals_keep_pictures_whole() -> None:
    """Ten copies of each triple of one picture carry no more than one: intervals stay as wide."""
    draw = np.random.default_rng(0)
    scores, accept = draw.random(60), draw.random(60) < 0.5
    once = judged(scores.tolist(), accept.tolist())
    ten = judged(
        np.repeat(scores, 10).tolist(), np.repeat(accept, 10).tolist(),
        np.repeat(np.arange(60), 10).tolist(),
    )  # fmt: skip
    spans = []
    for one in (once, ten):
        (point,) = curve.points(one, [0.3], resamples=800, seed=1)
        assert point["low"] < point["precision"] < point["high"]
        spans.append(point["high"] - point["low"])
    assert spans[0] == pytest.approx(spans[1], rel=1e-9)
    n, share = (scores > 0.3).sum(), accept[scores > 0.3].mean()
    assert spans[0] == pytest.approx(2 * 1.96 * (share * (1 - share) / n) ** 0.5, rel=0.2)


def test_reliability_finds_a_known_temperature() -> None:
    draw = np.random.default_rng(3)
    logits = draw.normal(size=40_000)
    accept = draw.random(40_000) < 1 / (1 + np.exp(-logits))
    loud = judged((1 / (1 + np.exp(-3 * logits))).tolist(), accept.tolist())
    found = curve.reliability(loud)
    assert found["temperature"] == pytest.approx(3, rel=0.05)
    assert found["error"] > 0.1 and found["log_loss_tempered"] < found["log_loss"]
    calm = curve.reliability(judged((1 / (1 + np.exp(-logits))).tolist(), accept.tolist()))
    assert calm["temperature"] == pytest.approx(1, rel=0.05) and calm["error"] < 0.02
    assert sum(row["n"] for row in calm["bins"]) == 40_000


# ---- Filter ----


def scored(path: Path, scores: list[float | None]) -> Path:
    """Write triples with scores, sources and styles in turn."""
    lines = [
        small_blip2.line(
            f"t{i}", f"p{i // 2}.png", [LEFT, RIGHT], [[0], "is", "red"], prediction=value,
            source=("one", "two")[i % 2], accept=int((value or 0) > 0.5),
        )
        for i, value in enumerate(scores)
    ]  # fmt: skip
    return small_blip2.write(path, lines)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12).filter(any),
    st.lists(st.floats(0, 1), min_size=2, max_size=4),
)
def test_a_higher_threshold_keeps_a_part_of_what_a_lower_one_keeps(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float | None], thresholds: list[float]
) -> None:
    root = tmp_path_factory.mktemp("filter")
    path = scored(root / "scored.jsonl", scores)
    before: set[str] | None = None
    for threshold in sorted(thresholds):
        result = filtering.apply(path, root / "out", threshold)
        kept = {one.id for one in triples.read(root / "out" / "kept.jsonl")}
        dropped = {one.id for one in triples.read(root / "out" / "dropped.jsonl")}
        assert kept == {f"t{i}" for i, one in enumerate(scores) if one is not None
                        and one > threshold}  # fmt: skip
        assert not kept & dropped
        assert len(kept) + len(dropped) + result.unscored == len(scores)
        assert before is None or kept <= before
        before = kept


def test_retention_per_source_and_a_lot_of_what_is_kept(tmp_path: Path) -> None:
    path = scored(tmp_path / "scored.jsonl", [0.9, 0.8, 0.81, 0.1, None, 0.95, 0.99, 0.2])
    result = filtering.apply(path, tmp_path / "out")
    assert [one.id for one in triples.read(tmp_path / "out/kept.jsonl")] == ["t0", "t2", "t5", "t6"]
    card = result.card
    assert card["counts"] == {"kept": 4, "dropped": 3, "unscored": 1}
    assert card["retention"] == pytest.approx(4 / 7)
    assert card["by"]["source"]["one"]["retention"] == 1.0
    assert card["by"]["source"]["two"]["retention"] == 0.25
    assert card["corpus"]["kept"]["accepted"] == 1.0
    assert card["corpus"]["dropped"]["accepted"] == pytest.approx(1 / 3)
    assert card["corpus"]["kept"]["words"] == {"question": 4, "answer": 3, "rationale": 5}
    assert any("57.1%" in line for line in filtering.lines(card))
    few = filtering.apply(path, tmp_path / "few", limit=2, seed=5)
    more = filtering.apply(path, tmp_path / "more", limit=3, seed=5)
    assert (few.kept, more.kept) == (2, 3) and few.card["left_by_lot"] == 2
    ids = [{one.id for one in triples.read(tmp_path / name / "kept.jsonl")}
           for name in ("few", "more")]  # fmt: skip
    assert ids[0] < ids[1] <= {"t0", "t2", "t5", "t6"}
    with pytest.raises(UsageError, match="from 0 to 1"):
        filtering.apply(path, tmp_path / "out", 80)
    with pytest.raises(DataError, match="no triple has a score"):
        filtering.apply(scored(tmp_path / "bare.jsonl", [None, None]), tmp_path / "out")


def test_curve_and_filter_by_the_command_line(tmp_path: Path) -> None:
    scored(tmp_path / "scored.jsonl", [0.9, 0.8, 0.51, 0.1, 0.3, 0.95, 0.6, 0.2])
    done = run(["critic", "curve", "--scored", "scored.jsonl", "--out", "curve.json"], tmp_path)
    assert done.returncode == 0 and "precision 100.0%" in done.stdout, done.stderr
    found = json.loads((tmp_path / "curve.json").read_text())
    assert found["images"] == 4 and found["classified"]["recall"] == 1
    done = run(["critic", "filter", "--scored", "scored.jsonl", "--out", "out"], tmp_path)
    assert done.returncode == 0 and "2 triples" in done.stdout, done.stderr
    assert json.loads((tmp_path / "out/card.json").read_text())["threshold"] == 0.8
    done = run(["critic", "filter", "--scored", "none.jsonl", "--out", "out"], tmp_path)
    assert done.returncode == 3 and "no corpus of triples" in done.stderr


def test_recipes_state_what_is_published() -> None:
    known = recipes.names()["lskd"]
    assert set(known) >= {"critic", "critic-binary", "discriminative", "generative-t5",
                          "generative-llama"}  # fmt: skip
    for variant in known:
        found = recipes.find(f"lskd/{variant}")
        assert found.name == f"lskd/{variant}" and found.lr == 1e-5 and found.unverified
    one = recipes.find("lskd")
    assert (one.name, one.batch_size, one.epochs) == ("lskd/critic", 256, 10)
    assert [target.value for target in one.targets] == [66.8, 65.7, 66.0]
    assert recipes.find("lskd/discriminative").max_steps == 10_000
