"""Sherlock's comparison: the official rule against a slow one, its quirks, files, drawing."""

import json
import math
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sherlock import comparison as write_comparison
from PIL import Image as Pictures
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Answer
from judges.sherlock import comparison, random_scores

FOLDER = "sherlock/val_comparison"


def slow(predictions, labels):
    """The rule of the specification, step by step, with numpy's global generator."""
    state = np.random.get_state()
    try:
        np.random.seed(1)
        noise = np.random.random(10) / 1e9
    finally:
        np.random.set_state(state)
    noisy = np.asarray(predictions, np.float64) + noise[: len(predictions)]
    hits = total = 0
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            if labels[i] == labels[j]:
                continue
            total += 1
            less = bool(noisy[i] < noisy[j])
            hits += less if labels[i] < labels[j] else not less
    return 2 * (hits / total - 0.5) if total else 0.0


def official_rows(key, scores):
    """Human, model, random and oracle of a key (dict) by the slow rule; scores by test_id."""
    decoded = {
        (pair["Input_iid"], pair["candidate"]): scores[test_id]
        for test_id, pair in key["test_id_map"].items()
    }
    rows = {"human": [], "model": [], "random": [], "oracle": []}
    for a in key["annotations"]:
        one = [c["annot1"] for c in a["candidates"]]
        two = [c["annot2"] for c in a["candidates"]]
        model = [float(decoded[a["Input_iid"], c["source_iid"]]) for c in a["candidates"]]
        guess = np.random.RandomState(1).random_sample(20)[10 : 10 + len(one)]
        middle = np.mean([one, two], axis=0)
        rows["human"].append((slow(one, two) + slow(two, one)) / 2)
        for name, said in (("model", model), ("random", guess), ("oracle", middle)):
            rows[name].append((slow(said, one) + slow(said, two)) / 2)
    return {name: 100 * np.mean(values) for name, values in rows.items()}


def read(folder, what):
    return json.loads((folder / "val_comparison" / f"val_comparison_{what}.json").read_text())


def replayed(home):
    """Run the code of docs/tasks/sherlock.md on home/sherlock and home/comparison.npy."""
    page = (Path(__file__).resolve().parent.parent / "docs/tasks/sherlock.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return f"recorded:{home / 'answers.jsonl'}"


def dummy_submission(folder, path):
    """The repository's dummy predictor: uniform float32 in file order, sorted by test_id."""
    instances, ids = read(folder, "instances"), read(folder, "instance_ids")
    draws = np.random.RandomState(1).random_sample(len(instances))
    by_id = {row["test_id"]: draw for row, draw in zip(instances, draws, strict=True)}
    vector = np.array([by_id[i] for i in sorted(by_id)]).astype(np.float32)
    np.save(path, vector)
    return dict(zip(ids, vector, strict=True))


levels = st.sampled_from([1.0, 2.0, 3.0])
tied = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0]), levels), min_size=1, max_size=10)


@settings(deadline=None)
@given(tied)
def test_the_comparison_is_the_rule_also_with_ties_and_few_candidates(pairs):
    scores, labels = zip(*pairs, strict=True)
    assert comparison(scores, labels) == pytest.approx(slow(scores, labels), abs=1e-12)


@given(st.permutations(list(range(10))))
def test_perfect_and_reversed_orders_are_plus_and_minus_one(order):
    assert comparison(order, order) == 1.0
    assert comparison([-x for x in order], order) == -1.0


def test_no_pair_with_different_labels_is_zero():
    assert comparison([0.1, 0.9, 0.4], [2.0, 2.0, 2.0]) == 0.0
    assert comparison([0.3], [1.0]) == 0.0


def test_ties_are_broken_by_position_and_not_by_lot():
    """The noise grows from the first to the second candidate, so the second wins each tie."""
    draws = np.random.RandomState(1).random_sample(10)
    assert draws[1] > draws[0] and draws[2] < draws[0]
    assert comparison([0.5, 0.5], [1.0, 2.0]) == 1.0
    assert comparison([0.5, 0.5], [2.0, 1.0]) == -1.0
    assert comparison([0.5, 0.5, 0.5], [1.0, 1.0, 2.0]) == -1.0  # the third gets next to no noise


def test_noise_never_outweighs_a_difference_and_needs_float64():
    assert comparison([0.5 + 1e-8, 0.5], [1.0, 2.0]) == -1.0
    assert np.float32(0.5) + np.float32(1e-9) == np.float32(0.5)  # why scores become floats first
    assert comparison([np.float32(0.5), np.float32(0.5)], [1.0, 2.0]) == 1.0


def test_the_global_generator_is_left_alone():
    np.random.seed(7)
    expected = np.random.random(3).tolist()
    np.random.seed(7)
    comparison([0.1, 0.1], [1.0, 2.0])
    random_scores(4)
    assert np.random.random(3).tolist() == expected


def test_more_candidates_than_noise_or_fewer_scores_are_refused():
    with pytest.raises(ValueError, match="11 candidates"):
        comparison([0.0] * 11, [0.0] * 11)
    with pytest.raises(ValueError, match="1 scores for 2"):
        comparison([0.0], [1.0, 2.0])


def test_a_submission_is_scored_as_the_official_script_does(tmp_path):
    folder = write_comparison(tmp_path / "sherlock", images=30)
    scores = dummy_submission(folder, tmp_path / "comparison.npy")
    task = make_task("sherlock", str(folder))
    record = run(replayed(tmp_path), task, out=tmp_path / "run")
    expected = official_rows(read(folder, "answer_key"), scores)
    for ours, theirs in (("corr", "model"), *((n, n) for n in ("human", "oracle", "random"))):
        assert record.metrics[ours]["value"] == pytest.approx(expected[theirs], abs=1e-9), ours
    annotators = [record.metrics[name]["value"] for name in ("annot1", "annot2")]
    assert np.mean(annotators) == pytest.approx(record.metrics["corr"]["value"])
    assert record.metrics["corr"]["low"] < record.metrics["corr"]["value"]
    assert task.ceiling == pytest.approx(expected["oracle"])


def test_the_published_rows_of_the_validation_key(tmp_path):
    place = shared(f"{FOLDER}/val_comparison_answer_key.json").parent
    (tmp_path / "sherlock").symlink_to(place.parent)
    dummy_submission(place.parent, tmp_path / "comparison.npy")
    record = run(replayed(tmp_path), "sherlock", data=tmp_path / "sherlock", out=tmp_path / "r")
    found = {name: round(metric["value"], 2) for name, metric in record.metrics.items()}
    assert (found["human"], found["oracle"], found["random"]) == (42.28, 88.60, 1.06)
    assert found["corr"] == -2.25 and record.counts["scored"] == 485


def test_an_answer_without_scores_is_unjudged(tmp_path):
    task = make_task("sherlock", str(write_comparison(tmp_path / "d", images=2)))
    sample = next(iter(task.samples()))
    score = task.score(sample, Answer(choice=0))
    assert score.value is None and score.status == "unjudged" and "one score per" in score.reason


def test_the_region_is_drawn_and_can_be_left_out(tmp_path):
    folder = write_comparison(tmp_path / "d", images=4)
    for name, text in (("sherlock", ()), ("sherlock/clip-multitask", ("inference:",))):
        sample = list(make_task(name, str(folder)).samples())[-1]
        assert sample.prompt[1:] == text
        left, top, right, bottom = sample.regions[0].box
        base = Pictures.open(folder / "images" / sample.cluster).convert("RGB")
        seen = Pictures.open(BytesIO(sample.prompt[0].read())).convert("RGB")
        assert seen.size == base.size
        assert seen.getpixel((int(left), int(top))) == (0x05, 0xFF, 0x37)
        middle = (int(left + right) // 2, int(top + bottom) // 2)
        mixed = [
            a + (b - a) * 0x3C / 255
            for a, b in zip(base.getpixel(middle), (255, 5, 205), strict=True)
        ]
        assert seen.getpixel(middle) == pytest.approx(mixed, abs=1)
        assert seen.getpixel((95, 1)) == base.getpixel((95, 1))
    bare = list(make_task("sherlock/nobox", str(folder)).samples())[-1]
    assert (
        not bare.regions
        and bare.prompt[0].read() == (folder / "images" / bare.cluster).read_bytes()
    )


def test_different_regions_of_one_picture_have_different_names(tmp_path):
    """Pixels are hashed once per name; two drawings of one file must not share it."""
    folder = write_comparison(tmp_path / "d", images=3)
    rows = read(folder, "instances")
    for row in rows:
        row["image"]["url"] = "https://x/VG_100K/0.jpg"
    (folder / "val_comparison/val_comparison_instances.json").write_text(json.dumps(rows))
    samples = list(make_task("sherlock", str(folder)).samples())
    assert len({s.cluster for s in samples}) == 1 and len({s.prompt[0].name for s in samples}) == 3


def test_a_resized_picture_is_not_drawn_on(tmp_path):
    folder = write_comparison(tmp_path / "d", images=2)
    sample = next(iter(make_task("sherlock", str(folder)).samples()))
    Pictures.new("RGB", (48, 32)).save(folder / "images" / sample.cluster)
    with pytest.raises(DataError, match="48x32, its boxes are for 96x64"):
        sample.prompt[0].read()


def drop_instance(folder):
    rows, key = read(folder, "instances"), read(folder, "answer_key")
    gone = rows.pop(0)["test_id"]
    (folder / "val_comparison/val_comparison_instances.json").write_text(json.dumps(rows))
    return rf"candidate '{key['test_id_map'][gone]['candidate']}' of image .* is missing.*{gone}"


def drop_mapping(folder):
    key = read(folder, "answer_key")
    pair = key["test_id_map"].pop(next(iter(key["test_id_map"])))
    (folder / "val_comparison/val_comparison_answer_key.json").write_text(json.dumps(key))
    return rf"'{pair['candidate']}' of image '{pair['Input_iid']}' is missing: no test_id"


def other_region(folder):
    rows = read(folder, "instances")
    rows[0]["region"][0]["left"] += 1
    (folder / "val_comparison/val_comparison_instances.json").write_text(json.dumps(rows))
    return "show 2 different regions"


def no_label(folder):
    key = read(folder, "answer_key")
    key["annotations"][0]["candidates"][0]["annot2"] = math.nan
    (folder / "val_comparison/val_comparison_answer_key.json").write_text(json.dumps(key))
    return "not a comparison key.*annotator"


def twice(folder):
    rows = read(folder, "instances")
    (folder / "val_comparison/val_comparison_instances.json").write_text(
        json.dumps([*rows, rows[3]])
    )
    return f"test_id '{rows[3]['test_id']}' comes twice"


def eleven(folder):
    key = read(folder, "answer_key")
    key["annotations"][1]["candidates"] *= 2
    (folder / "val_comparison/val_comparison_answer_key.json").write_text(json.dumps(key))
    return "20 candidates, expected 1 to 10"


def only_the_test_set(folder):
    place = folder / "val_comparison"
    (place / "test_comparison_answer_key.json").write_text("{}")
    (place / "val_comparison_answer_key.json").unlink()
    return "no val_comparison_answer_key.json.*test set, which has no key"


@pytest.mark.parametrize(
    "damage",
    [drop_instance, drop_mapping, other_region, no_label, twice, eleven, only_the_test_set],
)
def test_damaged_bundles_say_what_is_wrong(tmp_path, damage):
    folder = write_comparison(tmp_path / "d", images=4)
    says = damage(folder)
    with pytest.raises(DataError, match=says):
        make_task("sherlock", str(folder))
