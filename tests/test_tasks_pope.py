"""POPE: published numbers from real answers, file versions, layouts, rules, damaged data."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import shared
from small_data import picture, write_pope

from harness.api import run
from harness.errors import DataError, UsageError
from harness.find import make_task
from judges.yes_no import pope_rule, single_word, vlmeval_word

ANSWERS = "pope/answers/llava-v1.5-7b.haoming_partial.jsonl"


def metrics(record):
    return {
        name: round(m["value"], 2) for name, m in record.metrics.items() if m["value"] is not None
    }


def test_llava_15_7b_gives_its_published_f1(tmp_path):
    record = run(f"recorded:{shared(ANSWERS)}", "pope", data=shared("pope"), out=tmp_path / "run")
    found = metrics(record)
    assert found["adversarial.f1"] == 84.18
    assert found["adversarial.accuracy"] == 85.13 and found["adversarial.precision"] == 89.92
    assert found["adversarial.recall"] == 79.13 and found["adversarial.yes_ratio"] == 44.0
    # the other tool's own printout for its unfinished random split: 0.872 0.881 0.974 0.790 0.418
    assert found["random.f1"] == 87.24 and found["random.accuracy"] == 88.09
    assert record.metrics["random.f1"]["asked"] == 2910 and record.metrics["random.f1"]["n"] == 2712
    assert record.metrics["mean.f1"]["value"] is None  # one split has no answers at all
    assert record.run["source"]["version"] == "e3e3926" and record.run["status"] == "incomplete"


def test_llava_13b_counts_give_the_published_random_row(tmp_path):
    """LLaVA issue 626: TP 1183, FP 31, TN 1379, FN 317 on the 2,910 questions."""
    task = make_task("pope/official", str(shared("pope/coco_e3e3926")))
    wrong = {"yes": 317, "no": 31}
    rows = []
    for sample in task.samples():
        flip = sample.groups["split"] == "random" and wrong[sample.target] > 0
        if sample.groups["split"] == "random":
            wrong[sample.target] -= flip
        said = {"yes": "no", "no": "yes"}[sample.target] if flip else sample.target
        rows.append({"question_id": sample.id, "text": said.capitalize()})
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = run(f"recorded:{file}", task, out=tmp_path / "run")
    values = {
        k: record.metrics[f"random.{k}"]["value"] for k in ("accuracy", "precision", "recall")
    }
    assert values == pytest.approx(
        {"accuracy": 88.041, "precision": 97.446, "recall": 78.867}, abs=5e-4
    )
    assert record.metrics["random.f1"]["value"] == pytest.approx(87.1776, abs=5e-5)


def test_both_published_versions_are_recognised_and_never_mixed(tmp_path):
    old, new = shared("pope/coco_e3e3926"), shared("pope/coco_HEAD")
    for folder, version, count in ((old, "e3e3926", 8910), (new, "HEAD", 9000)):
        task = make_task("pope", str(folder))
        assert task.source.version == version and len(list(task.samples())) == count
    mixed = tmp_path / "mixed"
    shutil.copytree(old, mixed)
    mixed.chmod(0o755)
    (mixed / "coco_pope_random.json").chmod(0o644)
    shutil.copy(new / "coco_pope_random.json", mixed / "coco_pope_random.json")
    with pytest.raises(DataError, match=r"not one published version(.|\n)*3,000 questions.*HEAD"):
        make_task("pope", str(mixed))
    lines = (old / "coco_pope_random.json").read_text().splitlines(keepends=True)
    (mixed / "coco_pope_random.json").write_text("".join(lines[:2500]))
    with pytest.raises(DataError, match=r"2,500 questions.*unknown"):
        make_task("pope", str(mixed))
    (mixed / "coco_pope_random.json").write_text("".join(lines)[:-20])
    with pytest.raises(DataError, match="line 2910: not JSON"):
        make_task("pope", str(mixed))
    both = tmp_path / "both"
    both.mkdir()
    shutil.copytree(old, both / "a")
    shutil.copytree(new, both / "b")
    with pytest.raises(DataError, match="several versions of POPE"):
        make_task("pope", str(both))


def test_answers_to_another_version_are_refused(tmp_path):
    with pytest.raises(DataError):
        run(
            f"recorded:{shared(ANSWERS)}", "pope", data=shared("pope/coco_HEAD"), out=tmp_path / "r"
        )


def test_prompts_and_ids_of_llavas_question_file_are_ours():
    file = shared("pope/llava_pope_test.jsonl")
    theirs = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        theirs[str(row["question_id"])] = (row["text"], row["image"], row["category"])
    ours = {
        s.id: (s.prompt[-1], s.prompt[0].name, s.groups["split"])
        for s in make_task("pope", str(file.parent)).samples()
    }
    assert ours == theirs


@pytest.mark.parametrize(
    ("text", "official", "lmms", "vlmeval"),
    [
        ("yes", True, "yes", "yes"),
        ("No", False, "no", "no"),
        ("no", False, "no", "no"),
        ("NO", True, "no", "no"),
        ("no!", True, None, "no"),
        ("No\n", True, "no", "no"),
        ("No.", False, None, "no"),
        ("No, there is not.", False, None, "no"),
        ("There isn't", True, None, None),
        ("I cannot see it", True, None, None),
        ("", True, None, None),
        ("I do not think so", False, None, None),
        ("yes, not far", False, None, "yes"),
        ("Yes. No.", True, None, None),
        (" YES ", True, "yes", "yes"),
    ],
)
def test_the_rules(text, official, lmms, vlmeval):
    assert pope_rule(text)[0] is official
    assert single_word(text) == lmms
    assert vlmeval_word(text) == vlmeval


@given(st.text())
def test_the_rules_take_any_text(text):
    yes, found = pope_rule(text)
    assert yes or found  # a no is never made up
    assert single_word(text) in ("yes", "no", None) and vlmeval_word(text) in ("yes", "no", None)


def test_lmms_counts_unmatched_as_wrong_but_drops_them_from_f1(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    bare = metrics(run("constant:yes", "pope/lmms", data=data, out=tmp_path / "a"))
    full = run("constant:Yes.", "pope/lmms", data=data, out=tmp_path / "b")
    assert (bare["accuracy"], bare["f1"], bare["yes_ratio"]) == (50, 66.67, 50)
    assert metrics(full)["accuracy"] == 0 and full.metrics["f1"]["n"] == 0
    assert metrics(full)["yes_ratio"] == 50 and full.counts["unparsed"] == 72
    assert metrics(run("constant:Yes.", "pope", data=data, out=tmp_path / "c"))["mean.f1"] == 66.67


def test_never_yes_is_zero_and_not_a_crash(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    found = metrics(run("constant:no", "pope", data=data, out=tmp_path / "run"))
    assert (found["random.precision"], found["random.recall"], found["mean.f1"]) == (0, 0, 0)
    assert found["random.accuracy"] == 50 and found["mean.yes_ratio"] == 0


def hub_rows(data):
    rows = []
    for split in ("adversarial", "popular", "random"):
        for line in (data / f"coco_pope_{split}.json").read_text().splitlines():
            row = json.loads(line)
            name = row["image"].removesuffix(".jpg")
            image = {"bytes": (data / "images" / row["image"]).read_bytes(), "path": None}
            rows.append(
                {
                    "id": str(len(rows)),
                    "question_id": str(row["question_id"]),
                    "question": row["text"],
                    "answer": row["label"],
                    "image_source": name,
                    "image": image,
                    "category": split,
                }
            )
    return rows


@pytest.mark.parametrize("layout", ["parquet", "save_to_disk"])
def test_the_hugging_face_layout_is_the_same_task(tmp_path, layout):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness.fingerprint import item, pixels

    data = write_pope(tmp_path / "pope")
    table = pa.Table.from_pylist(hub_rows(data))
    hub = tmp_path / "hub"
    if layout == "parquet":
        (hub / "data").mkdir(parents=True)
        pq.write_table(
            table.slice(0, 40), hub / "data" / "test-00000-of-00002.parquet", row_group_size=7
        )
        pq.write_table(table.slice(40), hub / "data" / "test-00001-of-00002.parquet")
    else:
        datasets = pytest.importorskip("datasets")
        datasets.DatasetDict({"test": datasets.Dataset(table)}).save_to_disk(hub)
    official = {s.id: s for s in make_task("pope", str(data)).samples()}
    from_hub = {s.id: s for s in make_task("pope", str(hub)).samples()}
    assert {i: item(s) for i, s in official.items()} == {i: item(s) for i, s in from_hub.items()}
    some = list(official)[::9]
    for i in some:
        assert pixels(official[i].prompt[0]) == pixels(from_hub[i].prompt[0])
        assert official[i].prompt[0].read() == from_hub[i].prompt[0].read()  # bytes as published


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [*lines, "{"], "line 25: not JSON"),
        (lambda lines: [*lines, "[]"], "line 25: expected a JSON object"),
        (lambda lines: [*lines, lines[0]], "the id '10000001' comes twice"),
        (lambda lines: [lines[0].replace('"label"', '"lable"')], "line 1: no field 'label'"),
        (lambda lines: [lines[0].replace('"yes"', '"maybe"')], "line 1: .*'maybe'"),
        (
            lambda lines: [lines[0].replace("scene_0000.jpg", "../../etc/passwd")],
            "leads out of the data",
        ),
        (
            lambda lines: [lines[0].replace("scene_0000.jpg", "/etc/passwd")],
            "leads out of the data",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, change, says):
    data = write_pope(tmp_path / "pope")
    path = data / "coco_pope_random.json"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=says):
        make_task("pope", str(data))


def test_binary_rubbish_and_empty_splits(tmp_path):
    data = write_pope(tmp_path / "pope")
    (data / "coco_pope_random.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8 at byte 0"):
        make_task("pope", str(data))
    for split in ("random", "popular", "adversarial"):
        (data / f"coco_pope_{split}.json").write_text("")
    with pytest.raises(DataError, match="the split is empty"):
        make_task("pope", str(data))


def test_a_split_that_is_absent_gives_no_mean(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    (data / "coco_pope_popular.json").unlink()
    record = run("oracle", "pope", data=data, out=tmp_path / "run")
    assert "mean.f1" not in record.metrics and record.run["task"]["headline"] == "random.f1"


def test_unknown_variant(tmp_path):
    with pytest.raises(UsageError, match="did you mean lmms"):
        make_task("pope/lms", str(write_pope(tmp_path / "pope", pictures=False)))


def test_image_links_out_of_the_folder_are_refused(tmp_path):
    data = write_pope(tmp_path / "pope")
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture(9))
    target = data / "images" / "scene_0000.jpg"
    target.unlink()
    target.symlink_to(secret)
    with pytest.raises(DataError, match="leads out of the data folder"):
        make_task("pope", str(data))
