"""SEED-Bench: letters as three tools read them, dimensions, frames, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import dump, dump_lines, write_seed_bench

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Answer


def found(name: str, data: Path) -> dict[str, Any]:
    return {s.id: s for s in make_task(name, str(data)).samples()}


@pytest.mark.parametrize(
    ("text", "llava", "lmms"),
    [
        ("B", "B", "B"),
        ("B.", None, "B"),
        (" B\n", None, "B"),
        ("b", None, None),
        ("Because", None, "B"),
        ("(B)", None, None),
        ("", None, None),
    ],
)
def test_letters(tmp_path: Path, text: str, llava: str | None, lmms: str | None) -> None:
    data = write_seed_bench(tmp_path, images=False)
    for name, read in (("seed_bench", llava), ("seed_bench/lmms", lmms)):
        task = make_task(name, str(data))
        score = task.score(next(iter(task.samples())), Answer(text))
        assert score.parsed == read and score.status == ("scored" if read else "unparsed")


def test_prompts_and_pictures(tmp_path: Path) -> None:
    data = write_seed_bench(tmp_path)
    ours = found("seed_bench", data)
    assert ours["100000"].prompt[1] == (
        "What is number 0?\nA. sea 0\nB. sky 0\nC. sun 0\nD. sand 0\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert ours["100000"].prompt[0].read() == picture(0)
    assert ours["v6"].prompt[0].name == "10_v6.png" and ours["v6"].cluster == "3.webm"
    ranked = found("seed_bench/official", data)["100001"]
    assert ranked.prompt[1] == "Question: What is number 1?\nAnswer:"
    assert ranked.choices == ("sea 1", "sky 1", "sun 1", "sand 1")
    task = make_task("seed_bench/official", str(data))
    assert (task.ask, task.decoding.rank_by, task.chance) == ("rank", "sum", 25)
    assert any("one frame" in note for note in task.notes)


def test_the_likeliest_text_wins(tmp_path: Path) -> None:
    data = write_seed_bench(tmp_path, images=False)
    task = make_task("seed_bench/official", str(data))
    sample = found("seed_bench/official", data)["100001"]
    assert sample.target == "sand 1"
    assert task.score(sample, Answer(scores=(-4.0, -3.0, -2.0, -1.0))).value == 1
    assert task.score(sample, Answer(scores=(-1.0, -3.0, -2.0, -1.0))).parsed == "A"  # a tie


def test_numbers_by_dimension(tmp_path: Path) -> None:
    data = write_seed_bench(tmp_path / "data")
    samples = found("seed_bench", data)
    wrong = {"100000", "100002", "v6"}
    rows = [{"question_id": i, "text": "Z" if i in wrong else s.target} for i, s in samples.items()]
    file = dump_lines(tmp_path / "answers.jsonl", rows)
    record = run(f"recorded:{file}", "seed_bench", data=data, out=tmp_path / "run")
    values = {name: (round(m["value"], 4), m["n"]) for name, m in record.metrics.items()}
    assert values == {
        **{"accuracy": (87.5, 24), "image": (88.8889, 18), "video": (83.3333, 6)},
        **{"dimension.Scene Understanding": (77.7778, 9)},
        **{"dimension.Instance Identity": (100, 9), "dimension.Action Recognition": (83.3333, 6)},
    }


def test_a_set_without_videos_has_no_video_number(tmp_path: Path) -> None:
    task = make_task("seed_bench", str(write_seed_bench(tmp_path, 6)))
    assert [m.name for m in task.metrics] == ["accuracy", "image", "dimension"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": None}, "question 2: no answer in it; a split without answers"),
        ({"answer": "E"}, "question 2: the answer 'E' is none of A, B, C, D"),
        ({"choice_c": None}, "question 2: no field 'choice_c'"),
        ({"data_type": "sound"}, "question 2: the data_type 'sound' is neither"),
        ({"question_id": "100000"}, "the id '100000' comes twice"),
        ({"data_id": "../../x"}, "leads out of the data folder"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    data = write_seed_bench(tmp_path)
    document = json.loads((data / "SEED-Bench.json").read_text())
    document["questions"][1] |= change
    dump(data / "SEED-Bench.json", document)
    with pytest.raises(DataError, match=says):
        make_task("seed_bench", str(data))


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"questions +expected +19,242 +found +19,241"):
        make_task("seed_bench", str(write_seed_bench(tmp_path, 19_241, images=False)))
