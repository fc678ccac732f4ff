"""ScienceQA: published numbers from real answers, all columns, layouts, rules, damaged data."""

import json
from pathlib import Path
from typing import Any

import pytest
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.record import Record
from harness.types import Answer
from tasks.scienceqa import VARIANTS

GPT3 = "scienceqa/results/final_test_QCM-ALE_2_seed_3.json"


def values(record: Record) -> dict[str, float]:
    return {name: metric["value"] for name, metric in record.metrics.items()}


def rounded(record: Record) -> dict[str, float]:
    return {name.removesuffix(".accuracy"): round(v, 2) for name, v in values(record).items()}


def replay(
    tmp_path: Path, data: Path, rows: list[dict[str, str]], task: str = "scienceqa"
) -> Record:
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run(f"recorded:{file}", task, data=data, out=tmp_path / f"run-{task.replace('/', '-')}")


@pytest.mark.parametrize("variant", ["", "official"])
def test_gpt3_chain_of_thought_gives_its_published_row(tmp_path: Path, variant: str) -> None:
    name = f"scienceqa/{variant}".rstrip("/")
    record = run(f"recorded:{shared(GPT3)}", name, data=shared("scienceqa"), out=tmp_path / "run")
    assert rounded(record) == {"accuracy": 75.17, "TXT": 74.68, "IMG": 67.43, "NO": 79.93}
    assert record.metrics["accuracy"]["value"] == pytest.approx(100 * 3188 / 4241)
    assert record.run["source"]["version"] == "pid_splits 85c7820b9f136e57"
    assert [record.metrics[f"{c}.accuracy"]["n"] for c in ("TXT", "IMG", "NO")] == [
        2046,
        2017,
        1435,
    ]
    assert "no NAT, SOC, LAN" in record.run["task"]["notes"][0]


def test_gpt3_texts_are_read_as_its_authors_read_them() -> None:
    """Where the authors' script found a letter, so do we; elsewhere it drew (249 empty answers)."""
    document = json.loads(shared(GPT3).read_text())
    task = make_task("scienceqa/official", str(shared("scienceqa")))
    drawn = 0
    for sample in task.samples():
        score = task.score(sample, Answer(document["outputs"][sample.id]))
        if score.status == "unparsed":
            drawn += 1
            assert score.parsed is None and score.value in (0, 1) and "drew option" in score.reason
        else:
            assert score.parsed == "ABCDE"[document["results"][sample.id]]
    assert drawn == 249


def test_prompts_are_those_of_llavas_question_file() -> None:
    data = shared("scienceqa")
    ours = {s.id: s for s in make_task("scienceqa", str(data)).samples()}
    theirs = json.loads((data / "llava_test_CQM-A.json").read_text())
    assert len(ours) == len(theirs) == 4241
    for row in theirs:
        asked = row["conversations"][0]["value"].removeprefix("<image>\n")
        sample = ours[row["id"]]
        assert sample.prompt[-1] == (
            f"{asked}\nAnswer with the option's letter from the given choices directly."
        )
        assert sample.target == row["conversations"][1]["value"]
        assert [part.name for part in sample.prompt[:-1]] == [row[k] for k in row if k == "image"]  # type: ignore[union-attr]


def test_official_problems_make_the_same_prompts_as_llavas_file(tmp_path: Path) -> None:
    """Real problems in the official format against the file that LLaVA made of them."""
    data = shared("scienceqa")
    problems = json.loads((data / "derived_problems_subset.json").read_text())
    test = [id for id, row in problems.items() if row["split"] == "test"]
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    (tmp_path / "pid_splits.json").write_text(json.dumps({"test": test}))
    theirs = {s.id: s for s in make_task("scienceqa", str(data)).samples()}
    quoted = {s.id: s for s in make_task("scienceqa/official", str(data)).samples()}
    # four hints of this copy have a sentence more, which its maker appended
    altered = {id for id in test if "This Punnett square is" in problems[id]["hint"]}
    for name, reference in (("scienceqa", theirs), ("scienceqa/official", quoted)):
        ours = {s.id: s for s in make_task(name, str(tmp_path)).samples()}
        different = {id for id, s in ours.items() if s.prompt[-1] != reference[id].prompt[-1]}
        assert len(ours) == 772 and different == altered and len(altered) == 4
        assert all(s.target == reference[id].target for id, s in ours.items())


def test_real_images_are_found() -> None:
    found = list(make_task("scienceqa/img", str(shared("scienceqa"))).samples())
    here = [s for s in found if s.prompt[0].source.exists()]  # type: ignore[union-attr]
    assert len(found) == 2017 and len(here) == 350
    assert here[0].prompt[0].read()[:4] == b"\x89PNG"  # type: ignore[union-attr]


def test_answers_of_another_version_are_refused(tmp_path: Path) -> None:
    row = {"question_id": "4", "prompt": "Which is the capital of Peru?\nA. x", "text": "A"}
    with pytest.raises(DataError, match=r"sample '4'.*'Which figure of speech"):
        replay(tmp_path, shared("scienceqa"), [row])


# Liu's dissertation, Table 3.5: correct answers per subject and the printed NAT, SOC, LAN, average.
ROWS = {
    "LLaVA": ((2035, 853, 968), (90.36, 95.95, 88.0, 90.92)),
    "complement": ((2035, 849, 974), (90.36, 95.5, 88.55, 90.97)),
    "judge": ((2062, 860, 1002), (91.56, 96.74, 91.09, 92.53)),
}


def published() -> dict[str, Any]:
    """4,241 problems of our own that have all the published class sizes."""
    subjects = ["natural science"] * 2252 + ["social science"] * 889 + ["language science"] * 1100
    texts = [1] * 2046 + [0] * 2195  # 1,257 have text and image, 1,435 neither
    images = [1] * 1257 + [0] * 789 + [1] * 760 + [0] * 1435
    grades = [f"grade{1 + i % 6}" for i in range(2724)] + [f"grade{7 + i % 6}" for i in range(1517)]
    return {
        str(i): {
            **{"question": f"Question {i}?", "choices": ["yes", "no"], "answer": i % 2},
            **{"hint": "A hint." * text, "image": "image.png" if image else None},
            **{"grade": grade, "subject": subject, "topic": "biology", "split": "test"},
        }
        for i, (text, image, grade, subject) in enumerate(
            zip(texts, images, grades, subjects, strict=True)
        )
    }


def write(folder: Path, problems: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "problems.json").write_text(json.dumps(problems))
    (folder / "pid_splits.json").write_text(json.dumps({"test": list(problems), "train": []}))
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_published_rows_by_subject(tmp_path: Path, name: str) -> None:
    right, printed = ROWS[name]
    problems = published()
    left = dict(zip(("natural science", "social science", "language science"), right, strict=True))
    results = {}
    for id, row in problems.items():
        left[row["subject"]] -= 1
        results[id] = row["answer"] if left[row["subject"]] >= 0 else 1 - row["answer"]
    file = tmp_path / "result.json"
    file.write_text(
        json.dumps({"acc": 0, "results": results, "outputs": dict.fromkeys(results, "")})
    )
    data = write(tmp_path / "data", problems)
    found = rounded(run(f"recorded:{file}", "scienceqa", data=data, out=tmp_path / "run"))
    assert tuple(found[k] for k in ("NAT", "SOC", "LAN", "accuracy")) == printed
    assert list(found) == [
        *("accuracy", "NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12", "topic.biology")
    ]


def test_a_split_with_other_counts_is_refused_with_a_table(tmp_path: Path) -> None:
    problems = published()
    problems["7"]["subject"] = "social science"
    with pytest.raises(DataError, match=r"NAT +expected +2,252 +found +2,251 +<-(.|\n)*SOC.*<-"):
        make_task("scienceqa", str(write(tmp_path, problems)))
    del problems["7"]
    with pytest.raises(DataError, match=r"questions +expected +4,241 +found +4,240 +<-"):
        make_task("scienceqa", str(write(tmp_path, problems)))


SMALL = {
    "03": {"question": "Which is  hot?", "choices": ["ice", "fire"], "answer": 1, "hint": "Feel. "},
    "1": {"question": "Where?", "choices": ["a", "b", "c"], "answer": 0, "hint": ""},
    "2": {"question": "Which {}?", "choices": ["{0}", "b", "c", "d", "e"], "answer": 4, "hint": ""},
    "4": {"question": "When?", "choices": ["am", "pm"], "answer": 0, "hint": "A clock."},
}
for _id, _subject, _grade, _topic, _image in (
    ("03", "natural science", "grade6", "physics", "image.png"),
    ("1", "social science", "grade7", "geography", "image.png"),
    ("2", "language science", "grade12", "grammar", None),
    ("4", "natural science", "grade10", "physics", None),
):
    SMALL[_id] |= {"subject": _subject, "grade": _grade, "topic": _topic, "image": _image}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    (tmp_path / "data" / "images" / "test" / "03").mkdir(parents=True)
    (tmp_path / "data" / "images" / "test" / "03" / "image.png").write_bytes(b"png")
    return write(tmp_path / "data", SMALL)


def test_every_column_by_hand(tmp_path: Path, official: Path) -> None:
    said = {"03": "B", "1": "A. a", "2": "The answer is E.", "4": "B"}  # the last one is wrong
    rows = [{"question_id": k, "text": v} for k, v in said.items()]
    assert rounded(replay(tmp_path, official, rows)) == {
        **{"accuracy": 75, "NAT": 50, "SOC": 100, "LAN": 100},
        **{"TXT": 50, "IMG": 100, "NO": 100, "G1-6": 100, "G7-12": 66.67},
        **{"topic.geography": 100, "topic.grammar": 100, "topic.physics": 50},
    }


def test_prompts_of_the_variants(official: Path) -> None:
    def prompt(name: str, id: str) -> Any:
        return next(s for s in make_task(name, str(official)).samples() if s.id == id).prompt

    last = "Answer with the option's letter from the given choices directly."
    tidy = "Context: Feel.\nWhich is hot?\nA. ice\nB. fire"
    assert prompt("scienceqa", "03")[1] == f"{tidy}\n{last}"
    assert prompt("scienceqa/rank", "03")[1] == "Question: Context: Feel.\nWhich is hot?\nAnswer:"
    assert prompt("scienceqa/lmms", "03")[1] == (
        f"Context: Feel. \nWhich is  hot?\nA. ice\nB. fire\n{last}"
    )
    assert prompt("scienceqa/official", "03")[1] == (
        "Question: Which is hot?\nContext: Feel.\nOptions: (A) ice (B) fire\nAnswer:"
    )
    assert prompt("scienceqa/official", "1")[1] == (
        "Question: Where?\nContext: N/A\nOptions: (A) a (B) b (C) c\nAnswer:"
    )
    assert prompt("scienceqa", "03")[0].read() == b"png"
    assert prompt("scienceqa", "2") == (f"Which {{}}?\nA. {{0}}\nB. b\nC. c\nD. d\nE. e\n{last}",)


def scored(name: str, data: Path, id: str, answer: Answer) -> tuple[float | None, str | None, str]:
    task = make_task(name, str(data))
    score = task.score(next(s for s in task.samples() if s.id == id), answer)
    return score.value, score.parsed, score.status


def test_what_cannot_be_read_is_wrong_and_counted(official: Path) -> None:
    for text in ("A.", "a", "(A)", "FAILED", ""):
        assert scored("scienceqa", official, "1", Answer(text)) == (0, None, "unparsed")
    assert scored("scienceqa/lmms", official, "1", Answer("A.")) == (1, "A", "scored")
    assert scored("scienceqa/lmms", official, "1", Answer(" a\n")) == (1, "A", "scored")
    # a letter that the question does not offer is none
    assert scored("scienceqa", official, "03", Answer("C")) == (0, None, "unparsed")
    assert scored("scienceqa", official, "1", Answer("C")) == (0, "C", "scored")


def test_recorded_positions_are_taken_as_they_are(official: Path) -> None:
    for name in ("scienceqa", "scienceqa/official", "scienceqa/lmms", "scienceqa/rank"):
        assert scored(name, official, "1", Answer("The answer is C.", choice=0)) == (
            1,
            "A",
            "scored",
        )
        assert scored(name, official, "1", Answer("A", choice=2)) == (0, "C", "scored")
        assert scored(name, official, "1", Answer("A", choice=-1)) == (0, None, "unparsed")
    assert scored("scienceqa/rank", official, "1", Answer(scores=(1.0, 3.0, 3.0)))[:2] == (0, "B")


def test_the_official_draw_is_fair_and_repeatable(tmp_path: Path) -> None:
    data = write(tmp_path / "data", published())
    task = make_task("scienceqa/official", str(data))
    first, again = (
        [task.score(sample, Answer("no idea")).value for sample in task.samples()] for _ in range(2)
    )
    assert first == again
    assert abs(sum(v or 0 for v in first) / len(first) - 0.5) < 0.03


@pytest.mark.parametrize("variant", ["", *VARIANTS])
def test_contract(tmp_path: Path, official: Path, variant: str) -> None:
    name = f"scienceqa/{variant}".rstrip("/")
    task = make_task(name, str(official))
    found = list(task.samples())
    parts = {"img": ["03", "1"], "text": ["2", "4"], "text-rank": ["2", "4"]}
    expected = parts.get(variant, ["03", "1", "2", "4"])
    assert [s.id for s in found] == expected and task.headline == "accuracy"
    assert all(sample.target in sample.choices for sample in found)
    assert task.chance == pytest.approx(100 * sum(1 / len(s.choices) for s in found) / len(found))
    oracle = values(run("oracle", name, data=official, out=tmp_path / "oracle"))
    assert set(oracle.values()) == {100}
    first = sum(s.target == s.choices[0] for s in found) / len(found)
    constant = values(run("constant", name, data=official, out=tmp_path / "constant"))
    assert constant["accuracy"] == pytest.approx(100 * first)


def test_hub_tables_hold_the_same_problems(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for config, ids in (("ScienceQA-IMG", ["03", "1"]), ("ScienceQA-FULL", list(SMALL))):
        rows = [{**SMALL[id], "image": None} for id in ids]
        for row, id in zip(rows, ids, strict=True):
            if SMALL[id]["image"]:
                row["image"] = {"bytes": f"png {id}".encode(), "path": None}
        table = pa.Table.from_pylist(rows)
        at = table.schema.get_field_index("image")
        table = table.set_column(at, "image", pa.array([r["image"] for r in rows], kind))
        (tmp_path / "hub" / config).mkdir(parents=True)
        parquet.write_table(table, tmp_path / "hub" / config / "test-00000-of-00001.parquet")
        if config == "ScienceQA-IMG":
            with pytest.raises(DataError, match="ask for scienceqa/img, or add ScienceQA-FULL"):
                make_task("scienceqa", str(tmp_path / "hub"))
    task = make_task("scienceqa", str(tmp_path / "hub"))
    found = list(task.samples())
    assert [s.id for s in found] == ["FULL-0", "FULL-1", "FULL-2", "FULL-3"]
    assert found[1].prompt[0].read() == b"png 1" and len(found[2].prompt) == 1  # type: ignore[union-attr]
    assert "NAT.accuracy" in [m.name for m in task.metrics] and "row numbers" in task.notes[0]
    only = list(make_task("scienceqa/img", str(tmp_path / "hub")).samples())
    assert [s.id for s in only] == ["IMG-0", "IMG-1"]


def test_partial_and_damaged_files_are_told(tmp_path: Path, official: Path) -> None:
    (official / "pid_splits.json").write_text(json.dumps({"test": ["1", "99", "98"]}))
    with pytest.raises(DataError, match=r"2 of the 3 test problems are not in it, e\.g\. 99, 98"):
        make_task("scienceqa", str(official))
    (official / "pid_splits.json").write_text(json.dumps({"test": ["1", "1"]}))
    with pytest.raises(DataError, match="the id '1' comes twice"):
        make_task("scienceqa", str(official))
    (official / "pid_splits.json").write_text(json.dumps({"test": []}))
    with pytest.raises(DataError, match="no questions in it"):
        make_task("scienceqa", str(official))
    (official / "pid_splits.json").unlink()
    with pytest.raises(DataError, match="no questions in it"):  # no row says split: test
        make_task("scienceqa", str(official))
    (official / "problems.json").write_text('{"1": {')
    with pytest.raises(DataError, match="line 1: not JSON"):
        make_task("scienceqa", str(official))
    broken = {"1": {**SMALL["1"], "answer": 3}}
    with pytest.raises(DataError, match="problem '1': the answer 3 is none of its 3 choices"):
        make_task("scienceqa", str(write(official, broken)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no ScienceQA problems"):
        make_task("scienceqa", str(tmp_path / "empty"))


def test_llavas_file_alone_and_with_damage(tmp_path: Path) -> None:
    rows = json.loads(shared("scienceqa/llava_test_CQM-A.json").read_text())
    other = json.loads(shared("scienceqa/test_QCM-A.json").read_text())
    file, beside = tmp_path / "llava_test_CQM-A.json", tmp_path / "test_QCM-A.json"
    file.write_text(json.dumps(rows))
    alone = {s.id: s for s in make_task("scienceqa", str(file)).samples()}
    both = {s.id: s for s in make_task("scienceqa", str(shared("scienceqa"))).samples()}
    assert [(s.prompt[-1], s.choices, dict(s.groups)) for s in alone.values()] == [
        (s.prompt[-1], s.choices, dict(s.groups)) for s in both.values()
    ]
    with pytest.raises(DataError, match=r"asks question and context apart.*Add test_QCM-A\.json"):
        make_task("scienceqa/official", str(tmp_path))
    other["annotations"][0]["caption"] = "The answer is A."
    beside.write_text(json.dumps(other))
    with pytest.raises(
        DataError, match=r"entry 1: test_QCM-A\.json asks or answers '4' differently"
    ):
        make_task("scienceqa", str(tmp_path))
    beside.unlink()
    file.write_text(json.dumps(rows[:-1]))
    with pytest.raises(DataError, match=r"questions +expected +4,241 +found +4,240 +<-"):
        make_task("scienceqa", str(tmp_path))
    rows[2]["conversations"][1]["value"] = "E"
    file.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="entry 3: the answer 'E' is none of its"):
        make_task("scienceqa", str(tmp_path))


def test_images_named_outside_the_folder_are_refused(official: Path) -> None:
    problems = {"../../../etc": {**SMALL["03"], "image": "passwd"}}
    with pytest.raises(DataError, match="leads out of the data folder"):
        make_task("scienceqa", str(write(official, problems)))
