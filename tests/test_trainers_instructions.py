"""LLaVA's visual instructions: what the teacher is told, what it may write, what becomes of it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.errors import DataError, UsageError
from harness.types import Answer, Ask, Decoding, Reply, Sample
from trainers.instructions import (
    FOLDER,
    KINDS,
    Source,
    balance,
    context,
    expand,
    read,
    request,
    sources,
    write,
)
from trainers.teacher import Teacher

BEACH = Source(
    "7",
    "beach.jpg",
    ("A dog on a beach.", "A brown dog runs."),
    (("dog", (0.1, 0.25, 0.5, 1 / 3)), ("kite", (0.0, 0.0, 1.0, 0.1234))),
)
GOOD = {
    "conversation": "Question: What runs?\n===\nA dog runs.\n===\nIs there a cat?\n====\nNo.",
    "detail": "A brown dog runs along a wide beach. " * 4,
    "reasoning": "Why does it run?\n===\nIt chases something that the wind carries away. " * 1
    + "The dog looks ahead, so it follows what it sees there.",
}


class Author:
    """Writes what it is given for each kind, one text per attempt."""

    name = "author"

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        self.texts = texts

    def describe(self) -> Mapping[str, str]:
        return {"kind": "test"}

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        for place, sample in enumerate(samples):
            said = self.texts[sample.id.split("/")[1]]
            yield place, Answer(said[min(decoding.seed, len(said) - 1)])


def test_conversations_are_told_captions_only_and_the_others_boxes_as_fractions() -> None:
    captions = "A dog on a beach.\nA brown dog runs."
    assert context(BEACH, "conversation") == captions
    boxes = "dog: [0.100, 0.250, 0.500, 0.333]\nkite: [0.000, 0.000, 1.000, 0.123]"
    assert context(BEACH, "detail") == context(BEACH, "reasoning") == f"{captions}\n\n{boxes}"


def test_our_own_examples_pass_our_own_rules() -> None:
    shots = json.loads((FOLDER / "examples.json").read_text())["contexts"]
    for kind in KINDS:
        asked = request(BEACH, kind)
        assert len(shots) >= 2 and all(shot[kind] in asked.system for shot in shots)
        for shot in shots:
            assert read(Answer(shot[kind]), kind, Random(0))[1] == ""


def test_texts_become_records_with_their_origin(tmp_path: Path) -> None:
    texts = {kind: [text] for kind, text in GOOD.items()}
    with Teacher(tmp_path, Author(texts)) as teacher:
        found = write(teacher, [BEACH], list(KINDS))
    assert [record["id"] for record in found.records] == [f"7-{kind}" for kind in KINDS]
    first, second, third = (record["conversations"] for record in found.records)
    assert [turn["value"] for turn in first] == [
        "<image>\nWhat runs?", "A dog runs.", "Is there a cat?", "No.",
    ]  # fmt: skip
    assert [turn["from"] for turn in first] == ["human", "gpt"] * 2
    questions = json.loads((FOLDER / "questions.json").read_text())["detail"]
    assert second[0]["value"].removeprefix("<image>\n") in questions
    assert third[1]["value"].startswith("It chases")
    assert found.records[0]["source"]["teacher"] == "author"
    with Teacher(tmp_path, "replay") as replay:
        assert write(replay, [BEACH], list(KINDS)) == found


def test_a_rejected_text_is_asked_for_again_at_most_twice(tmp_path: Path) -> None:
    bad = "The caption says it is a dog at [0.1, 0.2]."
    texts = {"detail": [bad, bad, GOOD["detail"]], "reasoning": [bad]}
    with Teacher(tmp_path, Author(texts)) as teacher:
        found = write(teacher, [BEACH], ["detail", "reasoning"])
        assert teacher.asked == 6
    assert [record["source"]["attempt"] for record in found.records] == [2]
    assert found.given_up == ["7/reasoning"]
    assert sum(found.rejected.values()) == 5


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("conversation", "What?\n===\nA dog.\n===\nAnd?", "alternate"),
        ("conversation", "What?\n===\n\n===\nAnd?\n===\nNo.", "empty"),
        ("reasoning", "Why?\n===\nBecause.", "short"),
        ("reasoning", "Just text without any question." * 9, "alternate"),
        ("detail", "A dog at (0.25, 0.31) runs on the sand of a beach. " * 4, "coordinates"),
        ("detail", "The captions mention a dog that runs on the sand. " * 4, "source"),
        ("detail", "一只棕色的狗在海边的沙滩上奔跑" * 12, "English"),
        ("detail", "A dog <image> runs on the sand of a very wide beach. " * 4, "image"),
        ("detail", "A dog runs. " * 900, "long"),
    ],
)
def test_what_breaks_a_rule_is_rejected_by_name(kind: str, text: str, why: str) -> None:
    assert why in read(Answer(text), kind, Random(0))[1]


def test_texts_that_are_cut_off_or_refused_are_rejected() -> None:
    assert read(Answer(GOOD["detail"], stop="length"), "detail", Random(0))[1] == "cut off"
    assert read(Answer(GOOD["detail"], stop="refused"), "detail", Random(0))[1] == "refused"


def test_coco_files_are_read_and_damage_is_named(tmp_path: Path) -> None:
    instances = tmp_path / "instances.json"
    captions = tmp_path / "captions.json"
    rows: dict[str, Any] = {
        "categories": [{"id": 18, "name": "dog"}],
        "images": [
            {"id": 1, "file_name": "1.jpg", "width": 200, "height": 100},
            {"id": 2, "file_name": "2.jpg", "width": 200, "height": 100},
        ],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 18, "bbox": [20, 10, 100, 50]}],
    }
    instances.write_text(json.dumps(rows))
    captions.write_text(json.dumps({"annotations": [{"image_id": 1, "caption": " A  dog.\n"}]}))
    found = sources(instances, captions)
    assert found == [Source("1", "1.jpg", ("A dog.",), (("dog", (0.1, 0.1, 0.6, 0.6)),))]
    captions.write_text("{}")
    with pytest.raises(DataError, match=re.escape(str(captions))):
        sources(instances, captions)


def test_two_pictures_of_one_id_are_refused(tmp_path: Path) -> None:
    with Teacher(tmp_path, Author(GOOD)) as teacher, pytest.raises(UsageError, match="same id"):
        write(teacher, [BEACH, BEACH], ["detail"])


def test_captions_become_answers_to_brief_requests() -> None:
    rows = [(str(n), f"{n}.jpg", f"caption {n}") for n in range(30)]
    made = list(expand(rows))
    assert [record["conversations"][1]["value"] for record in made] == [row[2] for row in rows]
    asked = {record["conversations"][0]["value"] for record in made}
    assert len(asked) > 3 and all(text.endswith("\n<image>") for text in asked)
    assert list(expand(rows[5:6])) == made[5:6]


def test_common_concepts_are_capped_and_rare_ones_kept() -> None:
    rows = [(str(n), "", "a dog on the grass") for n in range(200)]
    rows += [(f"r{n}", "", "a purple zebra") for n in range(5)] + [("once", "", "an axolotl")]
    kept = balance(rows, least=3, most=20)
    ids = [id for id, _, _ in kept]
    assert sum(id.isdecimal() for id in ids) == 20
    assert {f"r{n}" for n in range(5)} <= set(ids) and "once" not in ids
    assert kept == [row for row in rows if row in kept]
