"""Visual7W: where the gold answer stands, ties, the toolkit's comparison, what is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import dump, dump_lines, write_visual7w

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Answer


def found(name: str, data: Path) -> dict[str, Any]:
    return {s.id: s for s in make_task(name, str(data)).samples()}


def test_prompts_and_splits(tmp_path: Path) -> None:
    data = write_visual7w(tmp_path)
    val, test = found("visual7w", data), found("visual7w/test", data)
    assert (len(val), len(test)) == (24, 12) and not val.keys() & test.keys()
    first = val["9000"]
    assert first.prompt[1] == "What is number 0? Answer:" and first.prompt[0].read() == picture(0)
    assert sorted(first.choices) == ["A hill 0.", "A lake 0.", "A road 0.", "A wood 0."]
    assert (first.target, first.cluster, first.groups) == (
        "A hill 0.",
        "v7w_0.jpg",
        {"type": "what"},
    )
    shown = found("visual7w/official", data)["9000"]
    assert f"\nChoices: {', '.join(first.choices)}\n" in shown.prompt[1]
    assert found("visual7w/open", data)["9000"].choices == ()


def test_the_gold_answer_has_no_place_of_its_own(tmp_path: Path) -> None:
    data = write_visual7w(tmp_path, 1600, images=False)
    samples = found("visual7w", data).values()
    places = Counter(s.choices.index(s.target) for s in samples)
    assert len(samples) == 800 and all(abs(n - 200) < 50 for n in places.values())
    assert [s.choices for s in samples] == [s.choices for s in found("visual7w", data).values()]


def test_a_model_that_cannot_tell_gets_chance(tmp_path: Path) -> None:
    data = write_visual7w(tmp_path / "data", 1600, images=False)
    record = run("constant", "visual7w", data=data, out=tmp_path / "run")
    assert abs(record.metrics["accuracy"]["value"] - 25) < 6  # all scores equal: the first wins


def test_the_comparison_ignores_case_alone(tmp_path: Path) -> None:
    data = write_visual7w(tmp_path, images=False)
    task = make_task("visual7w/official", str(data))
    sample = next(iter(task.samples()))
    said = {"A hill 0.": 1, "a HILL 0.": 1, "A hill 0": 0, "A lake 0.": 0, "hill": 0}
    for text, value in said.items():
        score = task.score(sample, Answer(text))
        assert score.value == value
        assert score.status == ("scored" if text.endswith(".") else "unparsed")
    free = make_task("visual7w/open", str(data))
    sample = next(iter(free.samples()))
    assert [free.score(sample, Answer(t)).status for t in ("hill", " ")] == ["scored", "unparsed"]
    assert free.score(sample, Answer("A Hill 0.")).value == 1 and free.chance is None


def test_a_wrong_choice_that_reads_like_the_answer_is_right(tmp_path: Path) -> None:
    data = write_visual7w(tmp_path, images=False)
    document = json.loads((data / "dataset_v7w_telling.json").read_text())
    document["images"][0]["qa_pairs"][0]["multiple_choices"][0] = "a hill 0."
    dump(data / "dataset_v7w_telling.json", document)
    task = make_task("visual7w", str(data))
    sample = next(iter(task.samples()))
    at = sample.choices.index("a hill 0.")
    assert sum(sample.relevance) == 2 and task.score(sample, Answer(choice=at)).value == 1


def test_numbers_by_type(tmp_path: Path) -> None:
    data = write_visual7w(tmp_path / "data", images=False)
    samples = found("visual7w", data)
    rows = []
    for s in samples.values():
        wrong = s.groups["type"] == "why" or s.id == "9000"
        scores = [float((c == s.target) != wrong) for c in s.choices]
        rows.append({"question_id": s.id, "scores": scores})
    file = dump_lines(tmp_path / "scores.jsonl", rows)
    record = run(f"recorded:{file}", "visual7w", data=data, out=tmp_path / "run")
    values = {name: m["value"] for name, m in record.metrics.items()}
    types = Counter(s.groups["type"] for s in samples.values())
    right = 24 - types["why"] - 1
    assert values["accuracy"] == pytest.approx(100 * right / 24)
    assert values["type.why"] == 0 and values["type.how"] == 100
    assert values["type.what"] == pytest.approx(100 * (types["what"] - 1) / types["what"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p["multiple_choices"].pop(), "image 1, question 1: expected 3 wrong choices"),
        (lambda p: p.pop("answer"), "image 1, question 1: no field 'answer'"),
        (lambda p: p.update(qa_id=9001), "the id '9001' comes twice"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Any, says: str) -> None:
    data = write_visual7w(tmp_path, images=False)
    document = json.loads((data / "dataset_v7w_telling.json").read_text())
    change(document["images"][0]["qa_pairs"][0])
    dump(data / "dataset_v7w_telling.json", document)
    with pytest.raises(DataError, match=says):
        make_task("visual7w", str(data))


def test_splits_and_sizes(tmp_path: Path) -> None:
    dump(tmp_path / "dataset_v7w_telling.json", {"images": []})
    with pytest.raises(DataError, match="no questions of the split 'val' in it"):
        make_task("visual7w", str(tmp_path))
    big = write_visual7w(tmp_path / "big", 56_044, images=False)
    with pytest.raises(DataError, match=r"questions +expected +28,020 +found +28,024"):
        make_task("visual7w", str(big))
    with pytest.raises(DataError, match="cannot be read from hf:x/y; give --data FOLDER"):
        make_task("visual7w", "hf:x/y")
