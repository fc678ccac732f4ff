"""Agreement of judges: figures that can be checked by hand, and real GPT-4 reviews."""

import json
import math
import random

import pytest
from judged_runs import answered, answers_in, judged, named, scripted
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from reports.agreement import compare, kappa, load


def table(*counts: tuple[str, str, int]) -> list[tuple[str, str]]:
    return [(a, b) for a, b, n in counts for _ in range(n)]


def test_kappa_of_a_table_from_a_textbook():
    """Two raters, 50 proposals: 20 both yes, 15 both no, 5 and 10 apart: kappa 0.4."""
    pairs = table(("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15))
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa(table(("a", "a", 3), ("b", "b", 4), ("c", "c", 2))) == 1.0
    assert kappa(table(("a", "b", 5), ("b", "a", 5))) == -1.0
    assert kappa(table(("a", "a", 5))) is None and kappa([]) is None


def people(tmp_path, rows, name="people.csv"):
    file = tmp_path / name
    lines = ["id,label,score,cluster"] + [",".join(map(str, row)) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def test_correlations_are_those_of_scipy(tmp_path):
    from scipy.stats import pearsonr, spearmanr

    draw = random.Random(1)
    x = [draw.randrange(6) for _ in range(40)]
    y = [value + draw.randrange(4) for value in x]
    a = people(tmp_path, [(i, "", v, i) for i, v in enumerate(x)], "a.csv")
    b = people(tmp_path, [(i, "", v, i) for i, v in enumerate(y)], "b.csv")
    (pair,) = compare([load(a), load(b)])["pairs"]
    assert pair["pearson"]["value"] == pytest.approx(pearsonr(x, y).statistic)
    assert pair["spearman"]["value"] == pytest.approx(spearmanr(x, y).statistic)
    assert pair["pearson"]["low"] < pair["pearson"]["value"] < pair["pearson"]["high"] <= 1
    assert pair["a_minus_b"]["value"] == pytest.approx(sum(x) / 40 - sum(y) / 40)
    assert pair["kappa"]["value"] is None  # nobody gave labels


def test_a_judge_against_people(tmp_path):
    task, folder = answered(tmp_path)
    judged(folder, task, scripted(lambda s, d: "8 4" if int(s.id) < 6 else "8 8"))
    rows = [(i, "reference" if i < 5 else "tie", "", i // 3) for i in range(10)]
    rows += [(3, "tie", "", 1), (3, "reference", "", 1)]  # three people on one answer
    (judge, _), (pair,) = (
        compare([load(str(folder)), load(people(tmp_path, rows))])[k] for k in ("sources", "pairs")
    )
    assert judge["labels"] == {"reference": 6, "tie": 6} and judge["judged"] == 12
    assert pair["common"] == 10 and pair["agreement"]["value"] == 0.9
    assert pair["kappa"]["value"] == pytest.approx(0.8)
    assert 0 <= pair["agreement"]["low"] <= 0.9 <= pair["agreement"]["high"] <= 1


def test_a_bias_of_position_shows_when_both_orders_were_asked(tmp_path):
    task, folder = answered(tmp_path, "llava_bench/swap")
    judged(folder, task, scripted(lambda s, d: "9 3"))
    (biased,) = compare([load(str(folder))])["sources"]
    assert biased["position"] == {
        "pairs": 12, "same_label": 0.0, "first_gains": pytest.approx(6 / 9),
    }  # fmt: skip

    def fair(sample, decoding):
        first, _ = answers_in(sample.prompt[0])
        return "9 3" if first.startswith("It is") else "3 9"

    judged(folder, task, scripted(fair, name="fair"))
    (found,) = compare([load(str(folder))])["sources"]
    assert found["position"]["first_gains"] == pytest.approx((2 * 6 / 9) / 12)  # two equal answers
    assert found["position"]["same_label"] == pytest.approx(10 / 12)


def test_a_bias_to_long_answers_shows(tmp_path):
    task, folder = answered(tmp_path)
    file = tmp_path / "long.jsonl"
    rows = [{"id": str(i), "text": "word " * (i + 1)} for i in range(12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run(f"recorded:{file}", task, out=tmp_path / "long")

    def by_length(sample, decoding):
        return f"9 {len(answers_in(sample.prompt[0])[1].split()) / 2}"

    folder = tmp_path / "long"
    judged(folder, task, scripted(lambda s, d: f"9 {4 + int(s.id) % 2}", name="even"))
    judged(folder, task, scripted(by_length, name="long"))
    found = compare([load(str(folder)), load(str(folder / "verdicts-1.jsonl"))])
    assert found["sources"][0]["length_correlation"]["value"] == pytest.approx(1)
    assert abs(found["sources"][1]["length_correlation"]["value"]) < 0.5
    assert found["pairs"][0]["a_favours_length"]["value"] > 0.8


def test_unreadable_verdicts_are_counted_and_never_compared(tmp_path):
    task, folder = answered(tmp_path, "llava_bench/official")
    judged(folder, task, scripted(lambda s, d: "8 4" if s.id != "3" else "no"))
    (found,) = compare([load(str(folder))])["sources"]
    assert found["judged"] == 11 and found["unreadable"] == 1  # the sentinel is no opinion
    assert not math.isnan(found["mean_score"]["value"])


def test_real_reviews_of_one_judge_agree_with_each_other(tmp_path):
    data = shared("llava_bench_wild")
    shared("llava_bench_coco/rule.json")
    task = make_task("llava_bench", str(data))
    folder = tmp_path / "run"
    run(f"recorded:{data}/answers/llava-v1.5-7b.jsonl", task, out=folder)
    for i in (1, 2, 3):
        judged(folder, task, named(f"recorded:{data}/reviews/llava-v1.5-7b-eval{i}.jsonl"))
    files = (folder, folder / "verdicts-1.jsonl", folder / "verdicts-2.jsonl")
    pairs = compare([load(str(file)) for file in files])["pairs"]
    assert [pair["common"] for pair in pairs] == [60, 60, 60]
    assert all(pair["spearman"]["value"] > 0.9 for pair in pairs)
    assert all(0.7 < pair["kappa"]["value"] <= 1 for pair in pairs)


def test_what_is_no_source_is_named(tmp_path):
    task, folder = answered(tmp_path)
    with pytest.raises(DataError, match="was not judged"):
        load(str(folder))
    with pytest.raises(DataError, match="expected a run folder"):
        load(str(tmp_path / "nothing.txt"))
    judged(folder, task, named("oracle"))
    (folder / "verdicts-7.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="not one of its verdict files"):
        load(str(folder / "verdicts-7.jsonl"))
    for text, why in (
        ("name,x\n1,2\n", "KeyError"),
        ("id,label\n1,\n", "neither"),
        ("id\n", "no la"),
    ):
        bad = tmp_path / "bad.csv"
        bad.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=why):
            load(str(bad))
    with pytest.raises(DataError, match="nan"):
        load(people(tmp_path, [(1, "", "nan", 1)]))
