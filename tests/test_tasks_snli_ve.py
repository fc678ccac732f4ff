"""SNLI-VE: LSKD's order of labels, both ways to ask, splits, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from small_data import picture
from vqa_data import dump_lines, write_snli_ve

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from harness.types import Answer


def first(name: str, data: Path) -> tuple[Any, Any]:
    task = make_task(name, str(data))
    return task, next(iter(task.samples()))


def test_lskd_ranks_three_labels_in_its_order(tmp_path: Path) -> None:
    data = write_snli_ve(tmp_path)
    task, sample = first("snli_ve", data)
    assert sample.prompt[1] == "Does the image describe Person 0 is in dev.? Answer:"
    assert sample.choices == ("contradiction", "neutral", "entailment")
    assert (sample.target, sample.cluster) == ("entailment", "470000.jpg")
    assert sample.prompt[0].read() == picture(0) and task.ask == "rank"
    assert task.score(sample, Answer(scores=(0.1, 0.3, 0.3))).parsed == "neutral"
    assert task.score(sample, Answer(scores=(0.1, 0.3, 0.4))).value == 1
    assert any("dev is assumed" in note for note in task.notes)
    assert first("snli_ve/test", data)[1].prompt[1].endswith("Person 0 is in test.? Answer:")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("entailment", "entailment"),
        ("Neutral.", "neutral"),
        ("The answer is contradiction!", "contradiction"),
        ("neutral, neutral", "neutral"),
        ("not entailment but neutral", None),
        ("entailments", None),
        ("yes", None),
        ("", None),
    ],
)
def test_written_labels(tmp_path: Path, text: str, read: str | None) -> None:
    task, sample = first("snli_ve/generate", write_snli_ve(tmp_path, images=False))
    score = task.score(sample, Answer(text))
    assert score.parsed == read and score.value == float(read == "entailment")
    assert score.status == ("scored" if read else "unparsed")
    assert sample.prompt[1].startswith('Statement: "Person 0 is in dev."\n')


def test_numbers_by_label(tmp_path: Path) -> None:
    data = write_snli_ve(tmp_path / "data", images=False)
    record = run("constant:neutral", "snli_ve/generate", data=data, out=tmp_path / "run")
    assert {name: round(m["value"], 2) for name, m in record.metrics.items()} == {
        **{"accuracy": 33.33, "label.contradiction": 0, "label.entailment": 0},
        **{"label.neutral": 100},
    }
    assert record.metrics["accuracy"]["clusters"] == 8


def test_damage_and_sizes(tmp_path: Path) -> None:
    data = write_snli_ve(tmp_path / "a", images=False)
    file = data / "snli_ve_dev.jsonl"
    row = {"Flickr30K_ID": "1", "sentence2": "x", "gold_label": "-", "pairID": "p"}
    dump_lines(file, [row])
    with pytest.raises(DataError, match="line 1: the gold_label '-' is none of contradiction, neu"):
        make_task("snli_ve", str(data))
    dump_lines(file, [{**row, "gold_label": "neutral"}] * 2)
    with pytest.raises(DataError, match="the id 'p' comes twice"):
        make_task("snli_ve", str(data))
    file.unlink()
    with pytest.raises(DataError, match=r"Expected snli_ve_dev\.jsonl"):
        make_task("snli_ve", str(data))
    assert len(list(make_task("snli_ve/test", str(data)).samples())) == 24
    big = write_snli_ve(tmp_path / "b", 17_900, images=False)
    with pytest.raises(DataError, match=r"questions +expected +17,858 +found +17,900"):
        make_task("snli_ve", str(big))
    with pytest.raises(DataError, match=r"questions +expected +17,901 +found +17,900"):
        make_task("snli_ve/generate-test", str(big))
