"""VQAv2: golden numbers by type, layouts, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import OPEN, dump, dump_lines, dump_table, write_vqav2

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.fingerprint import item
from harness.types import Answer

SAID = {
    "Is it raining?": "Yes",
    "Is the dog awake?": "Yes.",
    "How many cups?": "two",
    "How many legs has it?": "four",
    "What is on the table?": "the cup",
    "What colour is the door?": "RED",
    "Who is this?": "B",
    "Where does it lead?": "rome",
}
# the value of each answer above, in the same order
VALUES = {
    "vqav2/official": [0, 0.9, 1, 0, 1, 1, 0.3, 0],
    "vqav2": [1, 0.9, 1, 1, 1, 1, 0.3, 0],
    "vqav2/lmms": [1, 0.9, 1, 1, 1, 1, 0.3, 1],
    # people's "a cup", "two" and "Red." stay as they are, so that only their own kind counts
    "vqav2/lavis": [1, 0.9, 1, 1, 0.9, 1, 0.3, 0],
}


def replay(folder: Path, name: str, data: Path, said: dict[str, str]) -> Any:
    ids = {s.facts["question"]: s.id for s in make_task(name, str(data)).samples()}
    rows = [{"question_id": int(ids[q]), "prompt": q, "text": text} for q, text in said.items()]
    file = dump_lines(folder / "answers.jsonl", rows)
    return run(f"recorded:{file}", name, data=data, out=folder / "run")


@pytest.mark.parametrize("name", VALUES)
def test_numbers_by_answer_and_question_type(tmp_path: Path, name: str) -> None:
    record = replay(tmp_path, name, write_vqav2(tmp_path / "data"), SAID)
    values = dict(zip(SAID, VALUES[name], strict=True))
    prompts = {row["prompt"][1].split("\n")[0]: row["score"] for row in record.rows()}
    prompts = {
        k.removeprefix("Question: ").removesuffix(" Short answer:"): v for k, v in prompts.items()
    }
    assert prompts == pytest.approx(values)
    found = {name: m["value"] for name, m in record.metrics.items()}
    assert found["accuracy"] == pytest.approx(100 * sum(values.values()) / 8)
    by_type: dict[str, list[float]] = {}
    for (_, kind, form, _), value in zip(OPEN, VALUES[name], strict=True):
        by_type.setdefault(f"answer_type.{kind}", []).append(value)
        by_type.setdefault(f"question_type.{form}", []).append(value)
    assert {k: v for k, v in found.items() if k != "accuracy"} == pytest.approx(
        {k: 100 * sum(v) / len(v) for k, v in by_type.items()}
    )


def test_the_ceiling_is_peoples_agreement(tmp_path: Path) -> None:
    task = make_task("vqav2/official", str(write_vqav2(tmp_path)))
    assert task.ceiling == pytest.approx(100 * (7 + 0.3) / 8)  # ten answers, none twice
    assert any("not comparable" in note for note in task.notes)


def test_prompts(tmp_path: Path) -> None:
    data = str(write_vqav2(tmp_path))
    first = {v: next(iter(make_task(f"vqav2{v}", data).samples())) for v in ("", "/lavis")}
    image, text = first[""].prompt
    assert image.name == "COCO_val2014_000000000100.jpg" and image.read() == picture(0)
    assert text == "Is it raining?\nAnswer the question using a single word or phrase."
    assert first["/lavis"].prompt[1] == "Question: Is it raining? Short answer:"
    assert [s.cluster for s in make_task("vqav2", data).samples()] == [
        *("100", "100", "100", "101", "101", "101", "102", "102")
    ]


def test_nothing_said_is_wrong_and_counted(tmp_path: Path) -> None:
    task = make_task("vqav2", str(write_vqav2(tmp_path)))
    for text in ("", " \n", "the"):
        score = task.score(next(iter(task.samples())), Answer(text))
        assert (score.value, score.parsed, score.status) == (0, None, "unparsed")


def test_hub_tables_hold_the_same_questions(tmp_path: Path) -> None:
    data = write_vqav2(tmp_path / "data")
    asked = json.loads((data / "v2_OpenEnded_mscoco_val2014_questions.json").read_text())
    texts = {row["question_id"]: row["question"] for row in asked["questions"]}
    rows = json.loads((data / "v2_mscoco_val2014_annotations.json").read_text())["annotations"]
    for row in rows:
        row["question"] = texts[row["question_id"]]
    images = [picture(row["image_id"] - 100) for row in rows]
    hub = tmp_path / "hub"
    dump_table(hub / "data" / "validation-00000-of-00001.parquet", rows, images)
    ours = {s.id: item(s) for s in make_task("vqav2", str(data)).samples()}
    theirs = list(make_task("vqav2", str(hub)).samples())
    assert {s.id: item(s) for s in theirs} == ours
    assert all(s.prompt[0].read()[:2] == b"\xff\xd8" for s in theirs)


def change(path: Path, edit: Any) -> None:
    document = json.loads(path.read_text())
    edit(document)
    dump(path, document)


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    data = write_vqav2(tmp_path / "data", images=False)
    asked = data / "v2_OpenEnded_mscoco_val2014_questions.json"
    notes = data / "v2_mscoco_val2014_annotations.json"
    whole = notes.read_text()
    change(notes, lambda d: d["annotations"][1].pop("answers"))
    with pytest.raises(DataError, match=r"annotation 2: no answers in it\. Test answers"):
        make_task("vqav2", str(data))
    notes.write_text(whole)
    change(notes, lambda d: d["annotations"].pop())
    with pytest.raises(DataError, match=r"1 questions of .* have no annotation"):
        make_task("vqav2", str(data))
    notes.write_text(whole)
    change(asked, lambda d: d["questions"].pop(0))
    with pytest.raises(DataError, match="annotation 1: question 100000 is not in v2_Open"):
        make_task("vqav2", str(data))
    notes.write_text(whole[:-30])
    with pytest.raises(DataError, match=r"annotations\.json, line 1: not JSON"):
        make_task("vqav2", str(data))
    notes.write_text("[1, 2]")
    with pytest.raises(DataError, match="expected 'annotations', a list of objects"):
        make_task("vqav2", str(data))
    notes.unlink()
    with pytest.raises(DataError, match=r"no annotations beside it.*EvalAI"):
        make_task("vqav2", str(data))


def test_of_several_question_files_validation_is_meant(tmp_path: Path) -> None:
    data = write_vqav2(tmp_path / "data")
    extra = data / "v2_OpenEnded_mscoco_test-dev2015_questions.json"
    dump(extra, {"questions": []})
    assert len(list(make_task("vqav2", str(data)).samples())) == 8
    dump(data / "v2_OpenEnded_abstract_val2015_questions.json", {"questions": []})
    with pytest.raises(DataError, match="several files could be meant"):
        make_task("vqav2", str(data))


def test_half_of_the_published_set_is_refused_with_a_table(tmp_path: Path) -> None:
    people = ["yes"] * 10
    many = [(f"Is this {n}?", "yes/no", "is this", people) for n in range(107_177)]
    data = write_vqav2(tmp_path, many, images=False)
    with pytest.raises(DataError, match=r"questions +expected 214,354 +found 107,177 +<-"):
        make_task("vqav2", str(data))
