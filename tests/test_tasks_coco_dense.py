"""Zero-shot detection and segmentation on COCO.

The numbers against pycocotools and a plain confusion matrix, and what bad input gets; features of
places are in test_engine_dense.py.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace

import made_coco_det_zeroshot as made_det
import made_coco_stuff_zeroshot as made_stuff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil
from tiny_encoders import make_siglip

from harness import classmap
from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.metrics import detection
from harness.record import read_rows
from harness.stats import METRICS, estimate_all, frame
from harness.types import Answer, Metric
from tasks._coco_names import BASE, NOVEL, STUFF, THINGS, spoken
from tasks._coco_stuff_files import read_map

ROOT = Path(__file__).resolve().parent.parent
CPU = {"device": "cpu", "dtype": "float32", "workers": 0}


# --- detection ---------------------------------------------------------------------------------


def crowded_pictures(count: int = 14) -> list[list[tuple[int, tuple[float, ...], int]]]:
    """Return pictures with many boxes of few classes that overlap, and crowds over some."""
    draw = Random("crowded")
    found = []
    for number in range(count):
        things = []
        for _ in range(draw.randint(1, 9)):
            left, top = draw.choice((2, 4, 30, 33)), draw.choice((2, 5, 28))
            box = (left, top, draw.choice((14, 16, 30)), draw.choice((14, 20)))
            things.append((draw.choice((1, 3, 6, 18, 10)), box, 0))
        if number % 3 == 0:
            things.append((draw.choice((1, 3)), (0, 0, 50, 40), 1))
        found.append(things)
    return found


def scored_rows(task, scores_of):
    """Return rows as the run loop writes them, and what `derive` adds in the record."""
    rows = []
    for index, sample in enumerate(task.samples()):
        scores = scores_of(index, sample)
        score = task.score(sample, Answer(scores=scores))
        rows.append(
            {
                "index": index, "id": sample.id, "cluster": sample.cluster, "status": score.status,
                "score": score.value, "groups": dict(sample.groups), "stats": dict(score.stats),
                "choices": list(sample.choices), "target": sample.target,
                "regions": [{"box": list(sample.regions[0].box)}],
                "answer": {"scores": list(scores)},
            }
        )  # fmt: skip
    extras = task.derive(rows)
    for row in rows:
        row["stats"] |= extras[row["id"]]["stats"]
    return rows


def by_hand(task, rows):
    """Return COCO results: softmax, the threshold, suppression class by class, 100 a picture."""
    results = []
    for picture_id in dict.fromkeys(row["cluster"] for row in rows):
        mine = [row for row in rows if row["cluster"] == picture_id]
        entries = []
        for row in mine:
            powers = np.exp(np.array(row["answer"]["scores"]) - max(row["answer"]["scores"]))
            left, top, right, bottom = row["regions"][0]["box"]
            for label, p in enumerate(powers / powers.sum()):
                if p > 0.001:
                    entries.append((p, label, (left, top, right - left, bottom - top)))
        kept = []
        for entry in sorted(entries, key=lambda e: -e[0]):
            if all(entry[1] != k[1] or iou(entry[2], k[2]) <= 0.5 for k in kept):
                kept.append(entry)
        ids = {name: number for number, name in THINGS.items()}
        for p, label, box in kept[:100]:
            results.append(
                {"image_id": int(picture_id), "category_id": ids[mine[0]["choices"][label]],
                 "bbox": list(box), "score": float(p)}
            )  # fmt: skip
    return results


def iou(a, b):
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(wide, 0) * max(high, 0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def pycocotools_ap50(path, results, names):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(str(path))
        graded = COCOeval(gold, gold.loadRes(results), "bbox")
        graded.params.catIds = [k for k, name in made_det.CLASSES.items() if name in names]
        graded.evaluate()
        graded.accumulate()
    precision = graded.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, all areas, 100 detections
    return 100 * precision[precision > -1].mean()


@pytest.mark.parametrize("noise", [0.3, 6.0])
@pytest.mark.parametrize("variant", ["", "coco80"])
def test_ap50_is_that_of_pycocotools(tmp_path, noise, variant):
    path = made_det.instances(tmp_path, crowded_pictures())
    task = make_task(f"coco_det_zeroshot/{variant}".rstrip("/"), str(tmp_path))
    draw = np.random.default_rng(4)

    def scores(index, sample):
        right = np.array([name == sample.target for name in sample.choices])
        return tuple((3.0 * right + noise * draw.normal(size=len(right))).tolist())

    rows = scored_rows(task, scores)
    found = estimate_all(rows, task.metrics)
    results = by_hand(task, rows)
    asked = {"ap50": [*BASE, *NOVEL]} | {"ap50.base": BASE, "ap50.novel": NOVEL}
    for metric, names in asked.items() if not variant else [("ap50", list(THINGS.values()))]:
        assert found[metric].value == pytest.approx(
            pycocotools_ap50(path, results, names), abs=1e-9
        )
        assert 0 < found[metric].value < 100 and found[metric].low < found[metric].value
    assert found["accuracy"].value == pytest.approx(100 * np.mean([r["score"] for r in rows]))


def test_equal_scores_keep_the_order_of_the_pictures_whatever_comes_first(tmp_path):
    path = made_det.instances(tmp_path, crowded_pictures())
    task = make_task("coco_det_zeroshot", str(tmp_path))
    rows = scored_rows(task, lambda index, sample: (0.0,) * len(sample.choices))
    expected = pycocotools_ap50(path, by_hand(task, rows), [*BASE, *NOVEL])
    for seed in range(3):
        Random(seed).shuffle(rows)
        assert estimate_all(rows, task.metrics)["ap50"].value == pytest.approx(expected, abs=1e-9)


def test_without_a_picture_ap_is_what_it_is_on_the_others(tmp_path):
    made_det.instances(tmp_path, crowded_pictures(9))
    task = make_task("coco_det_zeroshot", str(tmp_path))
    draw = np.random.default_rng(1)
    rows = scored_rows(task, lambda i, s: tuple(draw.normal(size=len(s.choices)).tolist()))
    for metric in ("ap50", "ap50.novel"):
        chosen = [m for m in task.metrics if m.name == metric]
        table = frame(rows, chosen)
        sums = METRICS["average_precision"](table, table.counted, chosen[0].options)
        for code, name in enumerate(dict.fromkeys(row["cluster"] for row in rows)):
            others = [row for row in rows if row["cluster"] != name]
            left = sums.of(sums.by_cluster.sum(axis=0) - sums.by_cluster[code])
            assert 100 * left == pytest.approx(estimate_all(others, chosen)[metric].value)


def test_chunks_of_pictures_change_nothing(tmp_path, monkeypatch):
    made_det.instances(tmp_path, crowded_pictures())
    task = make_task("coco_det_zeroshot", str(tmp_path))
    draw = np.random.default_rng(2)
    rows = scored_rows(task, lambda i, s: tuple(draw.normal(size=len(s.choices)).tolist()))
    whole = estimate_all(rows, task.metrics)
    monkeypatch.setattr(detection, "_CHUNK", 1)
    for name, found in estimate_all(rows, task.metrics).items():
        was = whole[name]
        assert (found.value, found.low, found.high) == pytest.approx((was.value, was.low, was.high))


def test_the_classes_are_the_published_split():
    assert (len(BASE), len(NOVEL), len(THINGS), len(STUFF)) == (48, 17, 80, 91)
    assert not set(BASE) & set(NOVEL) and {*BASE, *NOVEL} < set(THINGS.values())
    assert (STUFF[92], STUFF[157], STUFF[182]) == ("banner", "sky-other", "wood")
    assert [spoken(n) for n in ("wall-brick", "sky-other", "door-stuff", "stop sign")] == [
        "brick wall", "sky", "door", "stop sign",
    ]  # fmt: skip
    assert len({spoken(n) for n in (*THINGS.values(), *STUFF.values())}) == 171


def test_crowds_and_other_classes_are_not_asked_but_crowds_excuse(tmp_path):
    one = [(1, (2, 2, 20, 30), 0), (10, (30, 2, 20, 20), 0), (3, (0, 0, 60, 50), 1)]
    made_det.instances(tmp_path, [one, [(3, (4, 4, 20, 20), 0)]])
    task = make_task("coco_det_zeroshot", str(tmp_path))
    samples = list(task.samples())
    assert [(s.target, s.groups["split"]) for s in samples] == [("person", "base"), ("car", "base")]
    assert [s.target for s in make_task("coco_det_zeroshot/coco80", str(tmp_path)).samples()] == [
        "person", "traffic light", "car",
    ]  # fmt: skip

    def scores(index, sample):  # the person, too, looks like a car, and more so than the car does
        return tuple(float({"car": 9, "person": 8}.get(n, 0)) - 5 * index for n in sample.choices)

    found = {r["id"]: r["stats"]["detections"]["found"] for r in scored_rows(task, scores)}
    car = samples[0].choices.index("car")
    assert all(entry[0] != car for entry in found["7/1"])  # it lies in a crowd of cars
    assert [entry[2] for entry in found["8/4"] if entry[0] == car] == [1.0]


def test_a_ceiling_is_promised_only_where_it_can_be_reached(tmp_path):
    apart = [[(1, (2, 2, 20, 30), 0), (1, (40, 2, 20, 30), 0)]]
    same = [[(1, (2, 2, 20, 30), 0), (1, (3, 2, 20, 30), 0)]]
    for number, (pictures, ceiling) in enumerate(((apart, 100.0), (same, None))):
        folder = tmp_path / str(number)
        made_det.instances(folder, pictures)
        task = make_task("coco_det_zeroshot", str(folder))
        assert task.ceiling == ceiling
        record = run("oracle", "coco_det_zeroshot", data=folder, out=tmp_path / f"run{number}")
        assert (record.metrics["ap50"]["value"] == 100.0) == (ceiling is not None)


def test_an_answer_without_scores_is_not_judged(tmp_path):
    task = make_task("coco_det_zeroshot", str(made_det.write(tmp_path)[""]))
    score = task.score(next(iter(task.samples())), Answer("person", choice=0))
    assert (score.value, score.status) == (None, "unjudged") and "every class" in score.reason


def test_templates_of_the_folder_take_the_place_of_ours(tmp_path):
    data = made_det.write(tmp_path)[""]
    ours = make_task("coco_det_zeroshot", str(data))
    assert "templates of our own" in ours.notes[0]
    (data / "templates.json").write_text('["a {} in a video game."]')
    theirs = make_task("coco_det_zeroshot", str(data))
    assert theirs.notes == () and theirs.scorer != ours.scorer
    prompts = next(iter(theirs.samples())).facts["prompts"]
    assert prompts["dog"] == ("a dog in a video game.",)
    for bad in ('{"a": 1}', '["no place for a name"]', "[]"):
        (data / "templates.json").write_text(bad)
        with pytest.raises(DataError, match=r"templates\.json"):
            make_task("coco_det_zeroshot", str(data))


def test_files_without_a_known_class_are_refused(tmp_path):
    path = made_det.instances(tmp_path, [[(10, (2, 2, 20, 30), 0)]])
    with pytest.raises(DataError, match="no box has one of the 65 classes"):
        make_task("coco_det_zeroshot", str(tmp_path))
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = [1, 2, float("nan"), 4]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="annotation 1"):
        make_task("coco_det_zeroshot/coco80", str(tmp_path))


# --- maps as text ------------------------------------------------------------------------------

places = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: st.lists(
        st.integers(0, 5), min_size=size[0] * size[1], max_size=size[0] * size[1]
    ).map(lambda flat: np.array(flat).reshape(size))
)


@given(places)
@settings(deadline=None)
def test_a_map_comes_back_as_it_was_written(found):
    text = classmap.written(found, 5)
    assert (classmap.read(f" {text}\n", 5) == found).all()
    names = [word.split("*")[0] for word in text.split(" ")[1:]]
    assert ("-" in names) == (5 in found) and "5" not in names


@given(st.text(alphabet="0123456789x*- \n٣", max_size=40))
@settings(max_examples=300, deadline=None)
def test_whatever_is_read_says_how_large_it_is(text):
    found = classmap.read(text, 7)
    if found is not None:
        height, width = text.strip().split(" ")[0].split("x")
        assert found.shape == (int(height), int(width)) and found.min() >= 0 and found.max() <= 7


@pytest.mark.parametrize(
    "text",
    [
        "", "2x2", "2x2 ", "2x2 0*3", "2x2 0*5", "2x2 0*4 1", "2x2 7*4", "2x2 -1*4", "2x2  0*4",
        "2x2 0 * 4", "2x2 00*4", "2x2 0*04", "0x2 0", "2x2 0*0 0*4", "02x2 0*4",
        "2x2\n0*4", "99999x99999 0*9999999", "2x2 0*٤", "2x2 0*4.", "the map: 2x2 0*4",
        "2x2 __import__('os')", "2X2 0*4", "2x2 0,1,2,3", "1x1 " + "0" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_no_map(text):
    assert classmap.read(text, 7) is None


def test_a_map_is_stretched_to_the_middle_of_each_pixel():
    small = np.array([[0, 1], [2, 3]])
    assert classmap.stretched(small, 2, 2).tolist() == small.tolist()
    assert classmap.stretched(small, 3, 5).tolist() == [
        [0, 0, 1, 1, 1], [2, 2, 3, 3, 3], [2, 2, 3, 3, 3],
    ]  # fmt: skip
    assert classmap.stretched(np.arange(16).reshape(4, 4), 2, 2).tolist() == [[5, 7], [13, 15]]


# --- segmentation ------------------------------------------------------------------------------


def confusion(task, answers):
    """Return the pixels by gold and said class, 172 x 172, counted one by one."""
    table = np.zeros((172, 172))
    for sample, text in zip(task.samples(), answers, strict=True):
        gold, said = read_map(sample.facts["map"]), classmap.read(text, 171)
        for y in range(gold.shape[0]):
            for x in range(gold.shape[1]):
                row = int((y + 0.5) * said.shape[0] / gold.shape[0])
                column = int((x + 0.5) * said.shape[1] / gold.shape[1])
                table[gold[y, x], said[row, column]] += 1
    return table


def mean_iou(table, classes):
    right, union = np.diag(table), table.sum(0) + table.sum(1) - np.diag(table)
    return 100 * np.mean([right[c] / union[c] for c in classes if union[c]])


def segmented(task, answers):
    rows = []
    for index, (sample, text) in enumerate(zip(task.samples(), answers, strict=True)):
        score = task.score(sample, Answer(text))
        rows.append(
            {"index": index, "id": sample.id, "cluster": sample.id, "status": score.status,
             "score": score.value, "groups": {}, "stats": dict(score.stats)}
        )  # fmt: skip
    return rows


def guesses(task, seed=3):
    draw = np.random.default_rng(seed)
    answers = []
    for sample in task.samples():
        gold = classmap.read(sample.target, 171)
        said = gold[::3, ::5].copy()
        wrong = draw.random(said.shape) < 0.4
        said[wrong] = draw.choice([0, 2, 96, 145, 171], wrong.sum())
        answers.append(classmap.written(said, 171))
    return answers


def test_miou_is_that_of_the_summed_confusion_matrix(tmp_path):
    task = make_task("coco_stuff_zeroshot", str(made_stuff.write(tmp_path)[""]))
    answers = guesses(task)
    found = estimate_all(segmented(task, answers), task.metrics)
    table = confusion(task, answers)
    labelled = table.copy()
    labelled[171] = 0  # pixels without a label are no part of the published number
    assert found["miou"].value == pytest.approx(mean_iou(labelled, range(171)))
    assert found["miou.things"].value == pytest.approx(mean_iou(labelled, range(80)))
    assert found["miou.stuff"].value == pytest.approx(mean_iou(labelled, range(80, 171)))
    assert found["miou.background"].value == pytest.approx(mean_iou(table, range(172)))
    accuracy = 100 * np.diag(labelled)[:171].sum() / labelled.sum()
    assert found["pixel_accuracy"].value == pytest.approx(accuracy)
    assert len({round(e.value, 6) for e in found.values()}) == len(found)
    assert found["miou"].low < found["miou"].value < found["miou"].high


def test_without_a_picture_miou_is_what_it_is_on_the_others(tmp_path):
    task = make_task("coco_stuff_zeroshot", str(made_stuff.write(tmp_path)[""]))
    rows = segmented(task, guesses(task))
    for metric in task.metrics[:5]:
        table = frame(rows, [metric])
        sums = METRICS[metric.kind](table, table.counted, metric.options)
        for code, row in enumerate(rows):
            left = sums.of(sums.by_cluster.sum(axis=0) - sums.by_cluster[code])
            others = [other for other in rows if other is not row]
            expected = estimate_all(others, [metric])[metric.name].value
            assert 100 * left == pytest.approx(expected)


def test_what_is_no_map_misses_every_pixel_and_says_none(tmp_path):
    task = make_task("coco_stuff_zeroshot", str(made_stuff.write(tmp_path)[""]))
    samples = list(task.samples())
    good, bad = [s.target for s in samples], [s.target for s in samples]
    bad[0] = "<script>alert(1)</script>"
    rows = segmented(task, bad)
    assert (rows[0]["status"], rows[0]["score"]) == ("unparsed", 0.0)
    found = estimate_all(rows, task.metrics)
    table = confusion(task, good)
    first = read_map(samples[0].facts["map"])
    for c in range(171):
        table[c, c] -= (first == c).sum()
        table[c, 0] += (first == c).sum()  # missed: part of the union of its own class only
    right, have = np.diag(table)[:171], table.sum(1)[:171]
    expected = 100 * np.mean([right[c] / have[c] for c in range(171) if have[c] and c])
    only = Metric("m", "miou", options={**task.metrics[0].options, "of": list(range(1, 171))})
    assert estimate_all(rows, [only])["m"].value == pytest.approx(expected)
    assert found["miou"].value < 100


def test_maps_that_are_none_are_refused_by_name(tmp_path):
    data = made_stuff.write(tmp_path)[""]
    path = data / "stuffthingmaps/val2017/000000000003.png"
    for values, said in ((np.full((4, 4), 11), "value 11"), (np.full((4, 4), 200), "value 200")):
        Pil.fromarray(values.astype(np.uint8)).save(path)
        with pytest.raises(DataError, match=f"000000000003.*{said}"):
            list(make_task("coco_stuff_zeroshot", str(data)).samples())
    Pil.new("RGB", (4, 4)).save(path)
    with pytest.raises(DataError, match="byte per pixel"):
        read_map(path)
    path.write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match="not a picture"):
        read_map(path)
    (data / "stuffthingmaps/val2017").rename(data / "stuffthingmaps/a")
    assert make_task("coco_stuff_zeroshot", str(data)).source.split == "a"
    (data / "stuffthingmaps/b").mkdir()
    Pil.new("L", (4, 4)).save(data / "stuffthingmaps/b/1.png")
    with pytest.raises(DataError, match="stuffthingmaps/a, stuffthingmaps/b"):
        make_task("coco_stuff_zeroshot", str(data))


# --- both ------------------------------------------------------------------------------------


def test_both_tasks_run_from_the_command_line(tmp_path):
    siglip = make_siglip(tmp_path / "siglip")
    detect, segment = (tmp_path / name for name in ("det", "stuff"))
    made_det.write(detect)
    made_stuff.write(segment)

    def sightline(task, data, out, *options):
        command = ["run", "-t", task, "-m", f"transformers:{siglip}", "-d", data, "--out", out]
        words = [sys.executable, "-m", "harness", *command, "-o", "device=cpu", *options]
        return subprocess.run(
            list(map(str, words)), cwd=ROOT, capture_output=True, text=True, timeout=300
        )

    done = sightline("coco_stuff_zeroshot", segment, tmp_path / "b", "-o", "dense_side=64")
    assert done.returncode == 0 and "miou.background" in done.stdout, done.stderr
    rows = list(read_rows(tmp_path / "b"))
    assert len(rows) == 8 and {row["status"] for row in rows} == {"scored"}
    assert {row["answer"]["text"].split(" ")[0] for row in rows} == {"10x12"}

    pooled = run(f"transformers:{siglip}", "coco_det_zeroshot", data=detect, out=tmp_path / "a",
                 options={**CPU, "regions": "pool", "dense_side": 32})  # fmt: skip
    assert pooled.metrics["ap50.novel"]["value"] is not None
    assert Counter(row["status"] for row in read_rows(tmp_path / "a")) == {
        "scored": pooled.metrics["ap50"]["n"]
    }


# --- the world ---------------------------------------------------------------------------------


def test_the_world_writes_what_is_in_its_scenes(tmp_path):
    from harness.world import build
    from harness.world.formats import coco_det_zeroshot, coco_stuff_zeroshot

    world = build.draw_world(tmp_path, 30, seed=5)
    empty = SimpleNamespace(split=world.split, place=lambda scene, target: None)
    for writer in (coco_det_zeroshot, coco_stuff_zeroshot):
        writer.write(empty, tmp_path / writer.__name__.rpartition(".")[2])
    task = make_task("coco_det_zeroshot/coco80", str(tmp_path / "coco_det_zeroshot"))
    asked = {(s.cluster, s.target, round(sum(s.regions[0].box))): s for s in task.samples()}
    things = [(scene, thing) for scene in world.split("test") for thing in scene.things]
    assert sum(1 for _ in task.samples()) == len(things) > 10
    for scene, thing in things:
        near = [s for key, s in asked.items() if key[:2] == (str(scene.id), thing.kind)]
        assert any(s.regions[0].box == pytest.approx(thing.box, abs=0.02) for s in near)
    names = [*THINGS.values(), *STUFF.values()]
    for scene in world.split("test"):
        path = tmp_path / f"coco_stuff_zeroshot/stuffthingmaps/val2017/{scene.id:012d}.png"
        gold = read_map(path)
        assert gold.shape == (scene.height, scene.width)
        seen = {names[c] for c in np.unique(gold) if c < 171}
        assert {thing.kind for thing in scene.things if thing.depth == max(
            t.depth for t in scene.things)} <= seen  # fmt: skip
        assert seen & set(THINGS.values()) <= {thing.kind for thing in scene.things}
        ground = {"kitchen": "floor-tile", "office": "carpet", "bedroom": "floor-wood",
                  "street": "road", "park": "grass", "beach": "sand"}  # fmt: skip
        assert ground[scene.place] in seen
