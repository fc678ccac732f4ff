"""TextVQA: the M4C rule, OCR tokens from three places, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import OPEN, dump, dump_lines, dump_table, write_textvqa

from harness.api import run
from harness.errors import DataError
from harness.find import make_task

SHORT = "Answer the question using a single word or phrase."


def asked(name: str, data: Path) -> dict[str, Any]:
    return {s.id: s for s in make_task(name, str(data)).samples()}


@pytest.mark.parametrize("ocr", ["llava", "rosetta"])
def test_prompts_hold_the_tokens(tmp_path: Path, ocr: str) -> None:
    data = write_textvqa(tmp_path, ocr)
    first = asked("textvqa", data)["34602"]
    assert first.prompt[1] == f"Is it raining?\nReference OCR token: STOP, No. 1\n{SHORT}"
    assert first.prompt[0].name == "img0000.jpg" and first.cluster == "img0000"
    assert asked("textvqa/plain", data)["34602"].prompt[1] == f"Is it raining?\n{SHORT}"


def test_without_tokens_the_bare_name_is_refused(tmp_path: Path) -> None:
    data = write_textvqa(tmp_path, ocr="")
    with pytest.raises(DataError, match=r"no OCR tokens\..*textvqa/plain asks without"):
        make_task("textvqa", str(data))
    assert len(asked("textvqa/plain", data)) == 8


def test_llavas_file_is_joined_by_image_and_question(tmp_path: Path) -> None:
    data = write_textvqa(tmp_path)
    file = data / "llava_textvqa_val_v051_ocr.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["text"] = rows[1]["text"].replace("STOP", "GO").upper()
    rows[1]["text"] = rows[1]["text"].replace("REFERENCE OCR TOKEN", "Reference OCR token")
    rows[1]["text"] = rows[1]["text"].replace(SHORT.upper(), SHORT)
    dump_lines(file, rows)
    # the join ignores case, as the official one does; what is asked is LLaVA's
    assert asked("textvqa", data)["34603"].prompt[1] == (
        f"IS THE DOG AWAKE?\nReference OCR token: GO, NO. 1\n{SHORT}"
    )
    dump_lines(file, rows[:-1])
    with pytest.raises(DataError, match="entry 8: no OCR tokens for image img0003"):
        make_task("textvqa", str(data))


def test_lmms_capitalises_as_python_does(tmp_path: Path) -> None:
    data = write_textvqa(tmp_path, ocr="")
    document = json.loads((data / "TextVQA_0.5.1_val.json").read_text())
    document["data"][0]["question"] = "what does the NASA logo say?"
    dump(data / "TextVQA_0.5.1_val.json", document)
    task = make_task("textvqa/lmms", str(data))
    assert next(iter(task.samples())).prompt[1].startswith("What does the nasa logo say?\n")
    assert task.decoding.max_tokens == 16
    asked = {"prompt": f"What does the nasa logo say?\n{SHORT}", "text": "yes"}
    file = dump_lines(tmp_path / "answers.jsonl", [{"question_id": "34602", **asked}])
    record = run(f"recorded:{file}", task, out=tmp_path / "run")  # what was asked is recognised
    assert record.counts["scored"] == 1


def test_numbers(tmp_path: Path) -> None:
    data = write_textvqa(tmp_path / "data")
    said = ["YES.", "yes", "2", "four", "A cup?", "red", "k", "rome,"]
    values = [1, 0.9, 1, 1, 1, 1, 0.3, 1]
    rows = [{"question_id": 34602 + i, "text": text} for i, text in enumerate(said)]
    file = dump_lines(tmp_path / "answers.jsonl", rows)
    record = run(f"recorded:{file}", "textvqa", data=data, out=tmp_path / "run")
    assert {row["id"]: row["score"] for row in record.rows()} == pytest.approx(
        {str(34602 + i): value for i, value in enumerate(values)}
    )
    assert record.metrics["accuracy"]["value"] == pytest.approx(100 * sum(values) / 8)


def test_hub_tables_hold_the_same_questions(tmp_path: Path) -> None:
    data = write_textvqa(tmp_path / "data", "rosetta")
    document = json.loads((data / "TextVQA_0.5.1_val.json").read_text())
    read = json.loads((data / "TextVQA_Rosetta_OCR_v0.2_val.json").read_text())["data"]
    tokens = {row["image_id"]: row["ocr_tokens"] for row in read}
    rows = [{**row, "ocr_tokens": tokens[row["image_id"]]} for row in document["data"]]
    images = [picture(i) for i in range(len(rows))]
    dump_table(tmp_path / "hub" / "data" / "validation-00000-of-00001.parquet", rows, images)
    for name in ("textvqa", "textvqa/lmms"):
        ours, theirs = asked(name, data), asked(name, tmp_path / "hub")
        assert {i: s.prompt[1] for i, s in ours.items()} == {
            i: s.prompt[1] for i, s in theirs.items()
        }
        assert all(theirs[i].facts == s.facts for i, s in ours.items())


def test_the_test_split_is_refused(tmp_path: Path) -> None:
    rows = [{"question_id": i, "image_id": "x", "question": q[0]} for i, q in enumerate(OPEN)]
    dump(tmp_path / "TextVQA_0.5.1_test.json", {"data": rows})
    with pytest.raises(DataError, match="entry 1: no answers in it"):
        make_task("textvqa/plain", str(tmp_path))
