"""A-OKVQA: the two official rules, layouts, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import dump, dump_lines, dump_table, write_aokvqa

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Answer


def samples(name: str, data: Path) -> list[Any]:
    return list(make_task(name, str(data)).samples())


def test_lskd_ranks_question_answer_choice(tmp_path: Path) -> None:
    data = write_aokvqa(tmp_path / "data")
    first = samples("aokvqa", data)[0]
    assert first.prompt[1] == "What would they need next, number 0? Answer:"
    assert first.choices == ("cat 0", "bus 0", "hat 0", "cup 0") and first.target == "cat 0"
    assert first.prompt[0].name == "000000000500.jpg" and first.prompt[0].read() == picture(0)
    task = make_task("aokvqa", str(data))
    assert (task.ask, task.chance, task.ceiling) == ("rank", 25, 100)
    assert task.score(first, Answer(scores=(-2.0, -1.0, -1.0, -3.0))).parsed == "bus 0"
    assert task.score(first, Answer(choice=0)).value == 1


def test_official_wants_one_of_the_choices_to_the_letter(tmp_path: Path) -> None:
    task = make_task("aokvqa/official", str(write_aokvqa(tmp_path)))
    first = next(iter(task.samples()))
    said = {"cat 0": 1, "Cat 0": 0, "cat 0.": 0, " cat 0": 0, "bus 0": 0, "": 0}
    for text, value in said.items():
        score = task.score(first, Answer(text))
        assert score.value == value
        assert score.status == ("scored" if text in first.choices else "unparsed")
    assert "Choices: cat 0, bus 0, hat 0, cup 0\n" in first.prompt[1]


def test_a_choice_that_reads_like_the_right_one_is_right(tmp_path: Path) -> None:
    data = write_aokvqa(tmp_path)
    rows = json.loads((data / "aokvqa_v1p0_val.json").read_text())
    rows[0]["choices"] = ["x", "y", "x", "z"]
    dump(data / "aokvqa_v1p0_val.json", rows)
    task = make_task("aokvqa", str(data))
    first = next(iter(task.samples()))
    assert task.score(first, Answer(scores=(0.0, 0.0, 1.0, 0.0))).value == 1


def test_direct_answers_skip_difficult_questions(tmp_path: Path) -> None:
    data = write_aokvqa(tmp_path / "data")
    task = make_task("aokvqa/direct", str(data))
    found = {s.id: s for s in task.samples()}
    assert len(found) == 16 and "8 difficult questions are skipped" in task.notes[-1]
    said = {1: 2 / 3, 2: 1, 4: 1 / 3, 7: 1}  # one more person says the choice each time
    for number, value in said.items():
        sample = found[f"q{number:021d}"]
        assert task.score(sample, Answer(sample.target)).value == pytest.approx(value)
        assert task.score(sample, Answer(sample.target + ".")).value == 0
    values = [1 / 3, 2 / 3, 1, 1]
    ceiling = sum(values[i % 4] for i in range(24) if i % 3) / 16
    assert task.ceiling == pytest.approx(100 * ceiling)


def test_recorded_scores_give_a_number(tmp_path: Path) -> None:
    data = write_aokvqa(tmp_path / "data")
    rows = [
        {"question_id": s.id, "scores": [float(c == s.target and n < 18) for c in s.choices]}
        for n, s in enumerate(samples("aokvqa", data))
    ]
    file = dump_lines(tmp_path / "scores.jsonl", rows)
    record = run(f"recorded:{file}", "aokvqa", data=data, out=tmp_path / "run")
    first = sum(s.choices.index(s.target) == 0 for s in samples("aokvqa", data)[18:])
    assert record.metrics["accuracy"]["value"] == pytest.approx(100 * (18 + first) / 24)


def test_hub_tables(tmp_path: Path) -> None:
    data = write_aokvqa(tmp_path / "data")
    rows = json.loads((data / "aokvqa_v1p0_val.json").read_text())
    kept = [{k: v for k, v in row.items() if k not in ("split", "image_id")} for row in rows]
    for row in kept:
        row["direct_answers"] = str(row["direct_answers"])  # the Hub's copy holds their repr
    file = tmp_path / "hub" / "data" / "validation-00000-of-00001.parquet"
    dump_table(file, kept, [picture(i) for i in range(len(kept))])
    for name in ("aokvqa", "aokvqa/direct"):
        theirs = {s.id: (s.target, s.prompt[1]) for s in samples(name, tmp_path / "hub")}
        assert theirs == {s.id: (s.target, s.prompt[1]) for s in samples(name, data)}
    kept[1]["direct_answers"] = "__import__('os')"
    dump_table(file, kept)
    with pytest.raises(DataError, match=r"row 1: expected answers as texts"):
        make_task("aokvqa/direct", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        (lambda r: r.pop("correct_choice_idx"), "aokvqa", "the test split has no public answers"),
        (lambda r: r.pop("direct_answers"), "aokvqa/direct", "Test answers are not public"),
        (lambda r: r.update(correct_choice_idx=4), "aokvqa", "the answer 4 is none of its 4 ch"),
        (lambda r: r.update(choices="abc"), "aokvqa", "expected a list of choices"),
        (lambda r: r.pop("question"), "aokvqa", "no field 'question'"),
        (lambda r: r.update(question_id=f"q{0:021d}"), "aokvqa", "comes twice"),
        (lambda r: r.update(image_id="../../x"), "aokvqa", "leads out of the data folder"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Any, name: str, says: str) -> None:
    data = write_aokvqa(tmp_path)
    rows = json.loads((data / "aokvqa_v1p0_val.json").read_text())
    change(rows[1])
    dump(data / "aokvqa_v1p0_val.json", rows)
    with pytest.raises(DataError, match=says):
        make_task(name, str(data))


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"questions +expected +1,145 +found +1,144"):
        make_task("aokvqa", str(write_aokvqa(tmp_path, 1144, images=False)))
    assert not make_task("aokvqa", str(write_aokvqa(tmp_path, 1145, images=False))).notes
