"""MM-Vet: the grader's table, its five attempts, abilities and their mixes."""

import json

import pytest
from judged_runs import answered, judged, scripted
from made_mm_vet import write

from harness.errors import DataError
from harness.find import make_task
from judges.rubric import correctness


def data(tmp_path):
    return write(tmp_path / "mm-vet")[""]


def test_the_grader_completes_a_table(tmp_path):
    task = make_task("mm_vet", str(data(tmp_path)))
    sample = list(task.samples())[1]
    (first,) = task.judge.prompt(sample, "x | {y}\n<OR>", False, 0).prompt
    head, _, row = first.rpartition("\n\n")
    assert row == "What is x in equation 1? | -1 <AND> -1 | x | {y}\n<OR> | "
    assert head.startswith("Compare the ground truth and prediction from AI models")
    assert head.split("\n")[-1].endswith("actual physical characteristics. | 1.0")
    assert head.count("\n") == 10
    (again,) = task.judge.prompt(sample, "x", False, 2).prompt
    assert again.endswith(" | x | \nPredict the correctness of the answer (digit): ")
    assert [d.temperature for d in task.judge.decodings] == [0.0, 0.0, 0.5, 1.0, 1.5]
    assert {d.max_tokens for d in task.judge.decodings} == {3}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.6", 0.6),
        ("1", 1.0),
        (" 0.6", None),  # nothing stands before the first space
        ("0.6 |", 0.6),
        ("0.6\n", 0.6),
        ("1.1", None),
        ("5", None),  # a grader that answers so makes another tool loop for ever
        ("-0.1", None),
        ("nan", None),
        ("Correct", None),
        ("", None),
    ],
)
def test_the_score_is_what_stands_before_the_first_space(text, found):
    assert correctness(text) == found


def test_abilities_and_their_mixes(tmp_path):
    task, folder = answered(tmp_path, "mm_vet", data(tmp_path))
    record = judged(folder, task, scripted(lambda s, d: "1.0" if s.id == "v1_0" else "0.5"))
    values = {name: metric["value"] for name, metric in record.metrics.items()}
    assert values["total"] == pytest.approx(100 * (1 + 11 * 0.5) / 12)
    assert values["math"] == pytest.approx(100 * (1 + 2 * 0.5) / 3)
    assert values["rec"] == 50.0 and record.metrics["rec"]["n"] == 6
    assert values["abilities.ocr_math"] == pytest.approx(100 * 2 / 3)
    assert {k for k in values if k.startswith("abilities.")} == {
        "abilities.ocr_math", "abilities.rec", "abilities.rec_know_gen", "abilities.ocr_spat",
    }  # fmt: skip


def test_unreadable_words_are_asked_again_with_rising_temperature(tmp_path):
    task, folder = answered(tmp_path, "mm_vet", data(tmp_path))
    judge = scripted(lambda s, d: "0.7" if d.temperature == 1.0 else "Well")
    record = judged(folder, task, judge)
    assert record.metrics["total"]["value"] == pytest.approx(70)
    asked = [d.temperature for s, d in judge.model.asked if s.id == "v1_3"]
    assert asked == [0.0, 0.0, 0.5, 1.0]
    assert len({d.seed for s, d in judge.model.asked if s.id == "v1_3"}) == 4
    assert record.run["judging"]["calls"] == 48  # every attempt is paid for


def test_a_verdict_that_stays_unreadable_is_zero_under_official_alone(tmp_path):
    for variant, value, left in (("mm_vet", 50.0, 6), ("mm_vet/official", 25.0, 0)):
        place = tmp_path / variant
        task, folder = answered(place, variant, data(place))
        judge = scripted(lambda s, d: "0.5" if int(s.id[3:]) % 2 else "5")
        record = judged(folder, task, judge)
        assert record.metrics["total"]["value"] == pytest.approx(value)
        assert record.counts["unjudged"] == left
        assert len([s for s, _ in judge.model.asked if s.id == "v1_0"]) == 5


def test_five_votes_are_five_runs_of_the_script(tmp_path):
    task, folder = answered(tmp_path, "mm_vet", data(tmp_path))
    record = judged(folder, task, scripted(lambda s, d: f"0.{d.seed + 2}"), repeats=5)
    assert record.run["judging"]["values"]["total"] == pytest.approx([20, 30, 40, 50, 60])
    assert record.metrics["total"]["value"] == pytest.approx(40)


def test_results_of_the_official_script_are_read(tmp_path):
    from harness.api import run

    file = tmp_path / "model.json"
    place = data(tmp_path)
    file.write_text(json.dumps({f"v1_{i}": f"answer {i}" for i in range(12)}), encoding="utf-8")
    record = run(f"recorded:{file}", "mm_vet", data=place, out=tmp_path / "run")
    assert record.counts["unjudged"] == 12
    assert {row["answer"]["text"] for row in record.rows()} == {f"answer {i}" for i in range(12)}


def test_wrong_files_are_named(tmp_path):
    place = data(tmp_path)
    rows = json.loads((place / "mm-vet.json").read_text(encoding="utf-8"))
    rows["v1_3"]["capability"] = ["singing"]
    (place / "mm-vet.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"'v1_3': the ability 'singing' is none of rec, ocr"):
        make_task("mm_vet", str(place))
    many = {f"v1_{i}": {**rows["v1_0"]} for i in range(200)}
    (place / "mm-vet.json").write_text(json.dumps(many), encoding="utf-8")
    with pytest.raises(DataError, match=r"expected     218  found     200"):
        make_task("mm_vet", str(place))
