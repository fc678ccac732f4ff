"""MMBench: rotations, CircularEval, what the rules read, layouts, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_data import picture
from vqa_data import dump_lines, dump_table, mmbench_rows, write_mmbench

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from judges.mmbench import mmbench_letter, mmbench_option

TREES = {"A": "oak", "B": "elm", "C": "a fir", "D": "None"}
LETTER_ONLY = "Answer with the option's letter from the given choices directly."


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(C)", "C"),
        ("The answer is (B).", "B"),
        ("Answer:D", None),  # the colon must stand alone before the letter
        ("Answer :D", "D"),
        ("b", None),
        ("A", "A"),
        ("A dog", "A"),  # up to three words an A is a letter
        ("A dog is here", None),
        ("A dog is here, so (B)", "B"),
        ("A or B", None),
        ("A B. C", "B"),  # two bare letters, one with a full stop
        ("E", "E"),
        ("It is an ELM tree", "B"),
        ("oak or elm", None),
        ("None of them", "D"),
        ("", None),
    ],
)
def test_what_the_rules_read(text: str, read: str | None) -> None:
    assert mmbench_option(text, TREES) == read


@given(st.text(), st.dictionaries(st.sampled_from("ABCD"), st.text(min_size=1), max_size=4))
def test_any_text_is_read(text: str, options: dict[str, str]) -> None:
    assert mmbench_option(text, options) in (*"ABCDE", None)
    assert mmbench_letter(f"{text} (B).") in (*"ABCDE", None)


def made(name: str, data: Path) -> Any:
    return make_task(name, str(data))


def test_rotations_made_here_are_the_published_ones(tmp_path: Path) -> None:
    with_rows = write_mmbench(tmp_path / "a.tsv", mmbench_rows(9))
    without = write_mmbench(tmp_path / "b.tsv", mmbench_rows(9, rotations=False))
    theirs, ours = (list(made("mmbench", path).samples()) for path in (with_rows, without))
    assert len(ours) == 3 * (2 + 3 + 4)
    assert {s.id: (s.prompt[1], s.target) for s in ours} == {
        s.id: (s.prompt[1], s.target) for s in theirs
    }
    zero = next(s.cluster for s in ours if s.id == "0")  # two questions share each picture
    shared = {s.id for s in ours if s.cluster == zero}
    assert shared == {"0", "1000000", "1", "1000001", "2000001"}


def test_prompts(tmp_path: Path) -> None:
    data = write_mmbench(tmp_path / "mmbench_dev_x.tsv", mmbench_rows(2)).parent
    write_mmbench(data / "mmbench_dev_cn_x.tsv", mmbench_rows(2, "cn"))
    first = next(iter(made("mmbench", data).samples()))
    assert first.prompt[1] == (
        f"Look at the bark.\nWhich tree is number 0?\nA. oak 0\nB. elm 0\n{LETTER_ONLY}"
    )
    assert first.prompt[0].read() == picture(0) and first.choices == ("A", "B")
    chinese = next(iter(made("mmbench/cn", data).samples()))
    assert chinese.prompt[1].endswith("\nB. elm 0\n请直接回答选项字母。")


def answers(tmp: Path, task: Any, wrong: set[str]) -> Path:
    rows = []
    for s in task.samples():
        other = next(letter for letter in s.choices if letter != s.target)
        rows.append({"question_id": s.id, "text": other if s.id in wrong else f"{s.target}."})
    return dump_lines(tmp / "answers.jsonl", rows)


def test_one_wrong_rotation_costs_the_question(tmp_path: Path) -> None:
    data = write_mmbench(tmp_path / "x.tsv", mmbench_rows(10))
    wrong = {"3", "1000004", "2000004", "1000007"}  # three questions, one of them unrotated
    task = made("mmbench", data)
    file = answers(tmp_path, task, wrong)
    record = run(f"recorded:{file}", "mmbench", data=data, out=tmp_path / "run")
    found = {name: round(m["value"], 6) for name, m in record.metrics.items()}
    assert found == {
        **{"circular": 70, "vanilla": 90},
        **{"category.name": 80, "category.place": 60, "l2-category.perception": 70},
    }
    every = record.metrics["circular"]
    assert every["n"] == every["asked"] == len(list(task.samples()))
    single = run(
        f"recorded:{file}",
        "mmbench/vanilla",
        data=data,
        out=tmp_path / "single",
        options={"extra": "ignore"},
    )
    assert single.metrics["vanilla"]["value"] == 90
    assert single.metrics["category.place"]["value"] == 80


def test_a_question_with_a_missing_rotation_has_no_value(tmp_path: Path) -> None:
    data = write_mmbench(tmp_path / "x.tsv", mmbench_rows(6))
    file = answers(tmp_path, made("mmbench", data), {"1"})
    file.write_text(
        "".join(line for line in file.read_text().splitlines(True) if '"2000002"' not in line)
    )
    record = run(f"recorded:{file}", "mmbench", data=data, out=tmp_path / "run")
    assert record.metrics["circular"]["value"] == pytest.approx(100 * 4 / 5)
    assert record.metrics["circular"]["n"] == record.metrics["circular"]["asked"] - 4


def test_chance_and_unread_answers(tmp_path: Path) -> None:
    data = write_mmbench(tmp_path / "x.tsv", mmbench_rows(9))
    task = made("mmbench", data)
    assert task.chance == pytest.approx(100 * (1 / 4 + 1 / 27 + 1 / 256) / 3)
    assert made("mmbench/vanilla", data).chance == pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 4) / 3)
    record = run("constant:I see two trees", "mmbench", data=data, out=tmp_path / "run")
    assert record.metrics["circular"]["value"] == 0 and record.counts["unparsed"] == 27


def test_an_option_none_is_one_only_if_it_is_right(tmp_path: Path) -> None:
    rows = mmbench_rows(3, rotations=False)
    rows[2] |= {"A": "oak", "B": "elm", "C": "None", "D": "nan", "answer": "A"}
    task = made("mmbench/vanilla", write_mmbench(tmp_path / "x.tsv", rows))
    assert [len(s.choices) for s in task.samples()] == [2, 3, 2]
    rows[2]["answer"] = "C"
    task = made("mmbench/vanilla", write_mmbench(tmp_path / "x.tsv", rows))
    assert [len(s.choices) for s in task.samples()] == [2, 3, 3]


def test_pictures_by_reference(tmp_path: Path) -> None:
    rows = mmbench_rows(3)
    for row in rows:
        if row["index"] >= 1_000_000:
            row["image"] = str(row["index"] % 1_000_000)
    found = {s.id: s for s in made("mmbench", write_mmbench(tmp_path / "x.tsv", rows)).samples()}
    assert found["1000002"].prompt[0].read() == picture(1)
    rows[1]["image"] = "77"
    with pytest.raises(DataError, match="row 3: no picture in base64, found '77'"):
        made("mmbench", write_mmbench(tmp_path / "x.tsv", rows))


def test_hub_tables_hold_the_same_questions(tmp_path: Path) -> None:
    rows = mmbench_rows(5)
    data = write_mmbench(tmp_path / "x.tsv", rows)
    plain = [{k: v for k, v in row.items() if k != "image"} for row in rows]
    images = [picture(row["index"] % 1_000_000 // 2) for row in rows]
    dump_table(tmp_path / "hub" / "en" / "dev-00000-of-00001.parquet", plain, images)
    ours = {s.id: (s.prompt[1], s.target, s.groups) for s in made("mmbench", data).samples()}
    theirs = list(made("mmbench", tmp_path / "hub").samples())
    assert {s.id: (s.prompt[1], s.target, s.groups) for s in theirs} == ours
    assert all(s.prompt[0].read() == picture(int(s.id) % 1_000_000 // 2) for s in theirs)
    with pytest.raises(DataError, match=r"no MMBench questions \(cn\)"):
        made("mmbench/cn", tmp_path / "hub")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": ""}, "row 3: no answer in it. Test answers are not public"),
        ({"answer": "D"}, "row 3: the answer 'D' is none of its 2 options"),
        ({"index": "x"}, "row 3: the index 'x' is not a whole number"),
        ({"index": 0}, "the id '0' comes twice"),
        ({"index": 1_000_009}, "question 9 is there in rotated rows only"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    rows = mmbench_rows(3)
    rows[1] |= change
    with pytest.raises(DataError, match=says.replace("(", r"\(")):
        made("mmbench", write_mmbench(tmp_path / "x.tsv", rows))


def test_files(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(DataError, match="no column 'index'; it has a, b"):
        made("mmbench", tmp_path)
    write_mmbench(tmp_path / "y.tsv", mmbench_rows(2))
    with pytest.raises(DataError, match="several files could be meant"):
        made("mmbench", tmp_path)
    published = write_mmbench(tmp_path / "z" / "mmbench_dev_20230712.tsv", mmbench_rows(4))
    with pytest.raises(DataError, match=r"questions +expected 1,164 +found 4"):
        made("mmbench", published.parent)
    rows = mmbench_rows(1)
    rows[0]["image"] = "A" * 101  # a length that base64 cannot have
    task = made("mmbench", write_mmbench(tmp_path / "w" / "w.tsv", rows))
    with pytest.raises(DataError, match="row 2: the picture is not base64"):
        next(s for s in task.samples() if s.id == "0").prompt[0].read()
