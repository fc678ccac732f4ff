"""VizWiz: prompts, the upload's clean-up, layouts, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import dump, dump_lines, dump_table, write_vizwiz

from harness.api import run
from harness.errors import DataError
from harness.find import make_task

SHORT = "Answer the question using a single word or phrase."
LINE = "When the provided information is insufficient, respond with 'Unanswerable'."


def asked(name: str, data: Path) -> dict[str, Any]:
    return {s.id: s for s in make_task(name, str(data)).samples()}


def test_prompts(tmp_path: Path) -> None:
    data = write_vizwiz(tmp_path)
    last = {v: asked(f"vizwiz{v}", data)["VizWiz_val_00000008"] for v in ("", "/plain", "/lmms")}
    assert last[""].prompt[1] == f"what is in this?\n{LINE}\n{SHORT}"
    assert last["/plain"].prompt[1] == f"what is in this?\n{SHORT}"
    assert last["/lmms"].prompt[1] == f"What is in this?\n{LINE}\n{SHORT}"
    assert last[""].prompt[0].read() == picture(8) and last[""].target == "unanswerable"


SAID = ["Yes", "Yes", "two", "4", "the cup", "RED", "b", "rome", "Unanswerable."]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        # all ten say "Rome": the server compares as it is, and the upload is in lower case
        ("vizwiz", [1, 0.9, 1, 1, 1, 1, 0.3, 0, 1]),
        ("vizwiz/lmms", [1, 0.9, 1, 1, 1, 1, 0.3, 1, 1]),
    ],
)
def test_numbers_by_answer_type(tmp_path: Path, name: str, values: list[float]) -> None:
    data = write_vizwiz(tmp_path / "data")
    rows = [{"question_id": f"VizWiz_val_{i:08d}.jpg", "text": t} for i, t in enumerate(SAID)]
    file = dump_lines(tmp_path / "answers.jsonl", rows)
    record = run(f"recorded:{file}", name, data=data, out=tmp_path / "run")
    found = {name: m["value"] for name, m in record.metrics.items()}
    assert found == pytest.approx(
        {
            "accuracy": 100 * sum(values) / 9,
            "answer_type.yes/no": 100 * sum(values[:2]) / 2,
            "answer_type.number": 100 * sum(values[2:4]) / 2,
            "answer_type.other": 100 * sum(values[4:8]) / 4,
            "answer_type.unanswerable": 100,
        }
    )


def test_hub_tables_hold_the_same_questions(tmp_path: Path) -> None:
    data = write_vizwiz(tmp_path / "data")
    rows = [
        {
            **{"question_id": row["image"], "question": row["question"]},
            **{"answers": [a["answer"] for a in row["answers"]], "category": row["answer_type"]},
        }
        for row in json.loads((data / "val.json").read_text())
    ]
    file = tmp_path / "hub" / "data" / "val-00000-of-00001.parquet"
    dump_table(file, rows, [picture(i) for i in range(len(rows))])
    ours, theirs = asked("vizwiz", data), asked("vizwiz", tmp_path / "hub")
    assert {i: (s.prompt[1], s.facts, s.groups) for i, s in ours.items()} == {
        i: (s.prompt[1], s.facts, s.groups) for i, s in theirs.items()
    }
    assert theirs["VizWiz_val_00000001"].prompt[0].read() == picture(1)


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    data = write_vizwiz(tmp_path, images=False)
    rows = json.loads((data / "val.json").read_text())
    dump(data / "val.json", [*rows, rows[0]])
    with pytest.raises(DataError, match="VizWiz_val_00000000' comes twice"):
        make_task("vizwiz", str(data))
    dump(data / "val.json", {"image": "x"})
    with pytest.raises(DataError, match="expected a list of objects"):
        make_task("vizwiz", str(data))
    (data / "val.json").unlink()
    for row in rows:
        del row["answers"]
    dump(data / "test.json", rows)
    with pytest.raises(DataError, match="entry 1: no answers in it"):
        make_task("vizwiz", str(data))


def test_another_size_is_refused(tmp_path: Path) -> None:
    people = [{"answer": "yes", "answer_confidence": "yes"}] * 10
    rows = [{"image": f"{i}.jpg", "question": "?", "answers": people} for i in range(4318)]
    dump(tmp_path / "val.json", rows)
    with pytest.raises(DataError, match=r"questions +expected +4,319 +found +4,318"):
        make_task("vizwiz", str(tmp_path))
