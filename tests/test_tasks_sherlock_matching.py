"""Sherlock's retrieval and localization against the official steps, and the real corpus."""

import json
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sherlock import corpus, localization
from scipy.stats import rankdata
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.stats import estimate_all
from harness.types import Answer, Failure, Metric
from judges.sherlock import localized, matched

CORPUS = "sherlock/sherlock_val_with_split_idxs_v1_1.json.zip"


class Made:
    """A model whose features and scores come from a table by sample id."""

    name = "made"

    def __init__(self, table, fails=()):
        self.table, self.fails = table, fails

    def describe(self):
        return {}

    def answer(self, samples, ask, decoding):
        for at, sample in enumerate(samples):
            numbers = tuple(float(x) for x in self.table[sample.id])
            if sample.id in self.fails:
                yield at, Failure("no")
            else:
                yield at, Answer(features=numbers) if ask == "encode" else Answer(scores=numbers)


def test_retrieval_is_the_official_ranking_averaged_over_splits(tmp_path):
    data = corpus(tmp_path / "data")
    task = make_task("sherlock/retrieval", str(data))
    draw = np.random.default_rng(0)
    samples = list(task.samples())
    table = {s.id: draw.normal(size=5).astype(np.float32) for s in samples}
    table["text/instance4x1"] = table["text/instance4x0"]  # ties, within and across splits
    table["text/instance3x1"] = table["text/instance4x2"]
    record = run(Made(table), task, out=tmp_path / "run")
    expected = {"im2txt": [], "txt2im": [], "p_at_1": []}
    for split in range(3):
        ids = [s.target for s in samples if s.groups == {"kind": "image", "split": split}]
        unit = {
            kind: np.array([table[f"{kind}/{i}"] for i in ids], np.float64)
            for kind in ("image", "text")
        }
        unit = {k: v / np.linalg.norm(v, axis=1, keepdims=True) for k, v in unit.items()}
        sim = np.round(unit["image"] @ unit["text"].T, 12)
        to_text = np.diagonal(rankdata(-sim, axis=1))
        to_image = np.diagonal(rankdata(-sim, axis=0))
        expected["im2txt"].append(to_text.mean())
        expected["txt2im"].append(to_image.mean())
        expected["p_at_1"].append(100 * np.mean(to_text == 1.0))
    for name, values in expected.items():
        assert record.metrics[name]["value"] == pytest.approx(np.mean(values), abs=1e-9), name
    assert record.metrics["im2txt"]["low"] < record.metrics["im2txt"]["value"]
    assert [m.higher_is_better for m in task.metrics] == [True, False, False]


def test_a_tied_best_is_a_miss_for_p_at_1(tmp_path):
    data = corpus(tmp_path / "data", images=6)
    task = make_task("sherlock/retrieval", str(data))
    record = run("constant", task, out=tmp_path / "run")
    assert record.metrics["p_at_1"]["value"] == 0
    sizes = Counter(s.groups["split"] for s in task.samples() if s.groups["kind"] == "image")
    assert record.metrics["im2txt"]["value"] == pytest.approx(
        np.mean([(n + 1) / 2 for n in sizes.values()])
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_matching_is_the_best_of_all_assignments(size, seed):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    best = max(permutations(range(size)), key=lambda p: sum(matrix[i, p[i]] for i in range(size)))
    assert matched(matrix, "x").tolist() == [best[i] == i for i in range(size)]


def test_matching_without_an_opinion_is_not_perfect():
    """A solver that takes the first of equal assignments would give the diagonal, always."""
    hits = [matched(np.zeros((3, 3)), str(seed)).mean() for seed in range(600)]
    assert np.mean(hits) == pytest.approx(1 / 3, abs=0.05)
    assert matched(np.zeros((3, 3)), "a").tolist() == matched(np.ones((3, 3)), "a").tolist()


@given(
    st.lists(st.tuples(st.floats(0, 9), st.sampled_from("abc"), st.sampled_from("xy")), min_size=1)
)
def test_a_mean_of_means_counts_every_group_once(rows):
    made = [
        {
            "id": str(i), "status": "scored", "score": value, "cluster": image,
            "groups": {"split": split}, "stats": {},
        }
        for i, (value, image, split) in enumerate(rows)
    ]  # fmt: skip
    made.append({**made[0], "id": "failed", "status": "failed", "score": None, "cluster": "d"})
    metrics = (
        Metric("images", "macro_mean", percent=False),
        Metric("splits", "macro_mean", options={"over": "split"}, percent=False),
    )
    found = estimate_all(made, metrics)
    for name, at in (("images", 1), ("splits", 2)):
        groups = {key: [row[0] for row in rows if row[at] == key] for key in {r[at] for r in rows}}
        expected = np.mean([np.mean(values) for values in groups.values()])
        assert found[name].value == pytest.approx(expected)
        assert found[name].n == len(rows)
        assert found[name].low is None or found[name].low <= found[name].value


def test_the_threshold_is_above_and_not_at_one_half_and_the_first_of_ties_is_taken():
    iou = np.array([[0.5, 0.6, 0.1], [0.9, 0.2, 0.2]])
    picks, possible = localized(np.array([[1.0, 2.0, 0.0], [0.0, 2.0, 0.0]]), iou)
    assert picks.tolist() == [False, True, False] and possible.tolist() == [True, True, False]


def official_localization(data, scores):
    """`score_localization.py` over the files; scores by test_id; assignments by enumeration."""
    key = json.loads((data / "val_localization/val_localization_answer_key.json").read_text())
    images = {}
    for test_id, pair in key.items():
        images.setdefault((pair["image"], pair["type"]), []).append((test_id, pair))
    gt, auto, oracle = [], [], []
    for (_, kind), pairs in images.items():
        if kind == "gt":
            size = round(len(pairs) ** 0.5)
            place = {p["inst_id"]: p["bbox_idx"] for _, p in pairs if p["correct"]}
            sim = np.zeros((size, size))
            for test_id, pair in pairs:
                sim[pair["bbox_idx"], place[pair["inst_id"]]] = scores[test_id]
            best = max(
                permutations(range(size)), key=lambda p: sum(sim[i, p[i]] for i in range(size))
            )
            gt.append(np.mean([best[i] == i for i in range(size)]))
            continue
        by_inference = {}
        for test_id, pair in pairs:
            by_inference.setdefault(pair["inst_id"], []).append((scores[test_id], pair["IoU"]))
        auto.append(np.mean([max(p, key=lambda x: x[0])[1] > 0.5 for p in by_inference.values()]))
        oracle.append(np.mean([max(i for _, i in p) > 0.5 for p in by_inference.values()]))
    return {"gt": 100 * np.mean(gt), "auto": 100 * np.mean(auto), "oracle": 100 * np.mean(oracle)}


def test_localization_is_the_official_one(tmp_path):
    data = localization(tmp_path / "data")
    folder = data / "val_localization"
    instances = json.loads((folder / "val_localization_instances.json").read_text())
    draw = np.random.default_rng(3)
    scores = {row["test_id"]: draw.normal() for row in instances}
    by_place = {
        (row["image"]["url"].split("/")[-1], json.dumps(row["region"]), row["inference"]): scores[
            row["test_id"]
        ]
        for row in instances
    }
    task = make_task("sherlock/localization", str(data))
    table = {}
    for sample in task.samples():
        boxes = [
            {"left": a, "top": b, "width": c - a, "height": d - b}
            for a, b, c, d in ((int(x) for x in region.box) for region in sample.regions)
        ]
        name = sample.cluster.split("/")[-1]
        ordered = json.dumps(boxes)
        table[sample.id] = [by_place[name, ordered, choice] for choice in sample.choices]
    record = run(Made(table), task, out=tmp_path / "run")
    expected = official_localization(data, scores)
    found = {name: record.metrics[name]["value"] for name in expected}
    assert found == pytest.approx(expected, abs=1e-9) and len(set(found.values())) == 3
    assert record.metrics["gt"]["clusters"] == 12
    failing = run(
        Made(table, {"gt/i0x0", "auto/VG_100K/2.jpg/1"}), task, out=tmp_path / "b", max_failures=1
    )
    assert failing.metrics["gt"]["clusters"] == 11 and failing.metrics["auto"]["clusters"] == 10


def test_the_corpus_alone_has_no_proposals(tmp_path):
    data = corpus(tmp_path / "data", images=4, zipped=False)
    task = make_task("sherlock/localization", str(data))
    assert [m.name for m in task.metrics] == ["gt"] and "no auto" in task.notes[-1]
    with pytest.raises(DataError, match="the corpus here serves sherlock/retrieval"):
        make_task("sherlock", str(data))
    assert run("oracle", task, out=tmp_path / "run").metrics["gt"]["value"] == 100


def test_the_real_corpus_has_the_published_images_and_splits(tmp_path):
    path = shared(CORPUS)
    pairs = make_task("sherlock/retrieval", str(path))
    samples = list(pairs.samples())
    sizes = Counter(s.groups["split"] for s in samples if s.groups["kind"] == "text")
    assert len(samples) == 2 * 22_737 and sorted(sizes) == list(range(23))
    # the README prints a dummy's P@1 of 0.102 on split 0: one hit among its pairs
    assert round(100 / sizes[0], 3) == 0.102 and pairs.source.version == "val v1.1"
    places = make_task("sherlock/localization", str(path))
    assert len({s.cluster for s in places.samples()}) == 6_656
    # and 30.2214 for its regions on 6,656 images, which is what guessing comes to
    assert places.chance == pytest.approx(30.2214, abs=1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[2]["inputs"].pop("bboxes"), "entry 3: not an instance.*'bboxes'"),
        (lambda rows: rows[2]["inputs"].update(bboxes=[]), "entry 3: .*no usable box"),
        (lambda rows: rows[2].update(instance_id="instance0x0"), "'instance0x0' comes twice"),
        (lambda rows: rows[1]["inputs"]["image"].update(url="x/../y.jpg"), "leads out"),
    ],
)
def test_damaged_corpora_are_named(tmp_path, change, says):
    data = corpus(tmp_path / "data", images=4, zipped=False)
    path = data / "sherlock_val_with_split_idxs_v1_1.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=says):
        make_task("sherlock/retrieval", str(data))


def test_damaged_zips_and_bundles_are_named(tmp_path):
    data = corpus(tmp_path / "zip", images=2)
    path = next(data.glob("*.zip"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"\.zip: damaged"):
        make_task("sherlock/retrieval", str(data))
    data = localization(tmp_path / "bundle", images=3)
    path = data / "val_localization/val_localization_answer_key.json"
    key = json.loads(path.read_text())
    first = next(i for i, pair in key.items() if pair["type"] == "gt")
    gone = key.pop(first)
    path.write_text(json.dumps(key))
    with pytest.raises(DataError, match=r"pairs of \d regions"):
        make_task("sherlock/localization", str(data))
    path.write_text(json.dumps({**key, first: {**gone, "type": "gt"}, "other": gone}))
    with pytest.raises(DataError, match="at 'other': not a localization key"):
        make_task("sherlock/localization", str(data))
