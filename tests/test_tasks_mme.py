"""MME: acc, acc+ and their sums, the official parse, layouts, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import MME_SUBTASKS, dump_lines, dump_table, write_mme

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from judges.yes_no import mme_lmms, mme_rule
from tasks._mme_files import PERCEPTION, PUBLISHED, SUBTASKS

SHORT = "Answer the question using a single word or phrase."


def replay(tmp: Path, name: str, data: Path, said: Any) -> Any:
    task = make_task(name, str(data))
    rows = [{"question_id": s.id, "text": text} for s in task.samples() if (text := said(s))]
    file = dump_lines(tmp / "answers.jsonl", rows)
    return run(f"recorded:{file}", name, data=data, out=tmp / "run")


@pytest.mark.parametrize(
    ("text", "official", "lmms"),
    [
        ("Yes", "yes", "yes"),
        ("no.", "no", "no"),
        ("Yes, there is.", "yes", "yes"),
        ("None of them", "no", "no"),  # the first four characters hold "no"
        ("I know", None, None),
        ("Note: yes", "no", "no"),
        (" Yes", "yes", "yes"),
        ("  Yes", None, "yes"),  # white space counts among the four
        ("y", None, "yes"),
        ("N.", None, "no"),
        ("N.o", None, "no"),
        ("The answer is yes", None, None),
        ("", None, None),
    ],
)
def test_the_parse(text: str, official: str | None, lmms: str | None) -> None:
    assert (mme_rule(text), mme_lmms(text)) == (official, lmms)


def test_prompts(tmp_path: Path) -> None:
    data = str(write_mme(tmp_path))
    first = {v: next(iter(make_task(f"mme{v}", data).samples())) for v in ("", "/official")}
    assert first[""].id == "OCR/090000/1" and first[""].cluster == "OCR/090000"
    assert first[""].prompt[1] == f"Is there a thing in OCR 090000?\n{SHORT}"
    assert first["/official"].prompt[1] == (
        "Is there a thing in OCR 090000? Please answer yes or no."
    )
    assert first[""].prompt[0].name == "OCR/090000.jpg" and first[""].prompt[0].read() == picture(0)


def test_two_spaces_before_the_sentence(tmp_path: Path) -> None:
    data = write_mme(tmp_path, ("count",), 1)
    file = next(data.rglob("*.txt"))
    file.write_text("How?  Please answer yes or no.\tYes\r\nWhy? Please answer yes or no.\tNo")
    ours, lmms = (list(make_task(n, str(data)).samples()) for n in ("mme", "mme/lmms"))
    assert ours[0].prompt[1] == f"How?\n{SHORT}" and lmms[0].prompt[1] == f"How? \n{SHORT}"
    assert [s.target for s in ours] == ["yes", "no"]


def test_the_scores_of_a_subtask(tmp_path: Path) -> None:
    """Four images: both right, one right, both wrong, one right: acc 50, acc+ 25, score 75."""
    data = write_mme(tmp_path / "data", ("existence", "code_reasoning"), 4)
    wrong = {"existence/000001/1", "existence/000002/1", "existence/000002/2", "existence/000003/2"}
    flip = {"yes": "no", "no": "yes"}

    def said(sample: Any) -> str:
        return flip[sample.target] if sample.id in wrong else sample.target

    record = replay(tmp_path, "mme", data, said)
    found = {name: m["value"] for name, m in record.metrics.items()}
    assert found == {
        **{"existence.acc": 50, "existence.acc_plus": 25, "existence.score": 75},
        **{"code_reasoning.acc": 100, "code_reasoning.acc_plus": 100, "code_reasoning.score": 200},
    }
    score = record.metrics["existence.score"]
    assert (score["n"], score["asked"], score["clusters"]) == (8, 8, 4)
    assert (score["low"], score["high"]) == (0, 200)  # wider than the scale with four images


def test_perception_and_cognition_are_sums(tmp_path: Path) -> None:
    data = write_mme(tmp_path / "data")
    task = make_task("mme", str(data))
    assert (task.headline, task.ceiling, task.chance) == ("perception", 2000, 750)
    record = run("constant:Yes", "mme", data=data, out=tmp_path / "run")
    assert record.metrics["perception"]["value"] == 500  # acc 50 and acc+ 0, ten times
    assert record.metrics["cognition"]["value"] == 200
    assert record.metrics["perception"]["asked"] == record.metrics["perception"]["n"] == 40


def test_a_half_answered_pair_has_no_acc_plus(tmp_path: Path) -> None:
    data = write_mme(tmp_path / "data", ("count",), 3)
    record = replay(tmp_path, "mme", data, lambda s: "" if s.id == "count/000001/2" else s.target)
    assert record.metrics["count.acc"]["n"] == 5 and record.metrics["count.acc_plus"]["n"] == 4
    assert record.metrics["count.acc_plus"]["value"] == 100
    assert record.metrics["count.score"]["n"] == 4 and record.metrics["count.score"]["asked"] == 6


def test_a_part_of_the_subtasks_gives_no_sum(tmp_path: Path) -> None:
    data = write_mme(tmp_path / "a", tuple(set(MME_SUBTASKS) - {"OCR"}))
    task = make_task("mme", str(data))
    assert task.headline == "cognition" and task.ceiling == 800
    assert "perception" not in {metric.name for metric in task.metrics}
    alone = make_task("mme", str(write_mme(tmp_path / "b", ("scene",))))
    assert (alone.headline, alone.ceiling, alone.chance) == ("scene.score", 200, 75)


def test_published_counts() -> None:
    assert PUBLISHED["questions"] == 2374
    assert sum(PUBLISHED[name] for name in PERCEPTION) == 2114 and len(SUBTASKS) == 14


def llava_rows(data: Path) -> list[dict[str, Any]]:
    rows = []
    for sample in make_task("mme", str(data)).samples():
        name = sample.prompt[0].name
        rows.append({"question_id": name, "image": name, "text": sample.prompt[1]})
    return rows


def test_llavas_prompts_are_used_to_the_letter(tmp_path: Path) -> None:
    data = write_mme(tmp_path)
    rows = llava_rows(data)
    rows[0]["text"] = rows[0]["text"].replace("?\n", "? \n")
    dump_lines(data / "llava_mme.jsonl", rows)
    task = make_task("mme", str(data))
    assert [s.prompt[1] for s in task.samples()] == [row["text"] for row in rows]
    dump_lines(data / "llava_mme.jsonl", rows[1:])
    with pytest.raises(DataError, match="no prompt for a question on OCR/090000"):
        make_task("mme", str(data))


def test_llavas_file_alone_has_no_answers(tmp_path: Path) -> None:
    rows = llava_rows(write_mme(tmp_path / "data"))
    alone = tmp_path / "alone"
    dump_lines(alone / "llava_mme.jsonl", rows)
    with pytest.raises(DataError, match=r"llava_mme\.jsonl alone has no answers"):
        make_task("mme", str(alone))


def test_hub_tables_hold_the_same_questions(tmp_path: Path) -> None:
    data = write_mme(tmp_path / "data")
    official = list(make_task("mme/official", str(data)).samples())
    rows = [
        {
            **{"question_id": s.prompt[0].name, "question": s.prompt[1]},
            **{"answer": s.target.capitalize(), "category": s.groups["subtask"]},
        }
        for s in official
    ]
    file = tmp_path / "hub" / "data" / "test-00000-of-00001.parquet"
    dump_table(file, rows, [s.prompt[0].read() for s in official])
    theirs = list(make_task("mme/official", str(tmp_path / "hub")).samples())
    assert [(s.id, s.prompt[1], s.target, s.cluster) for s in theirs] == [
        (s.id, s.prompt[1], s.target, s.cluster) for s in official
    ]
    assert theirs[3].prompt[0].read() == official[3].prompt[0].read()
    dump_table(file, [{**rows[0], "category": "taste"}])
    with pytest.raises(DataError, match="the category 'taste' is none of existence"):
        make_task("mme", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Is it? Please answer yes or no. Yes\n", "line 1: expected a question, a tab"),
        (
            "Is it?\tYes\nIs it not?\tMaybe\n",
            "line 2: expected the answer Yes or No, fo",
        ),
        ("Is it?\tYes\n", "count/000000 has 1 questions; MME has two"),
        ("Is it?\tYes\nNot?\tNo\nOr?\tNo\n", "count/000000 has 3 questions"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, says: str) -> None:
    data = write_mme(tmp_path, ("count",), 1)
    next(data.rglob("*.txt")).write_text(text)
    with pytest.raises(DataError, match=says):
        make_task("mme", str(data))


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"count +expected +60 +found +200 +<-"):
        make_task("mme", str(write_mme(tmp_path, MME_SUBTASKS, 100)))
