"""Repeated runs: the mean of each item first, then the clustered test, and what that gains."""

import json
import random
import shutil
from datetime import date

import numpy as np
import pytest
from gate_runs import edit, gold, record, right_but, task, wrong

from harness.errors import DataError
from reports.comparable import load
from reports.compare import compare
from reports.compare_text import text, to_json
from reports.gate import plan
from reports.gate.baselines import bless
from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt
from reports.repeats import load_all, together

TODAY = date(2026, 8, 1)


def moody(model, draw, hard=0.5):
    """A model that answers half of the questions by chance: `draw` is the throw of the dice."""
    fixed, dice = random.Random(model), random.Random(f"{model} {draw}")
    certain = {i: fixed.random() >= hard for i in range(5000)}
    lucky = {i: dice.random() < 0.5 for i in range(5000)}
    return lambda i: gold(i) if certain[i] or lucky[i] else wrong(i)


def side(folder, model, count, made, hard=0.5):
    for draw in range(count):
        record(folder / str(draw), moody(model, draw, hard), made, "base" if model == 1 else "cand")
    return folder


def test_the_numbers_are_those_of_item_means(tmp_path):
    made = task(300, per_image=3)
    base, cand = side(tmp_path / "a", 1, 2, made), side(tmp_path / "b", 2, 3, made)
    (before,), (after,) = (load_all([place]).values() for place in (base, cand))
    found = compare(before, after)
    raw = {
        place: np.mean([[row["score"] for row in sorted(load(f).rows, key=lambda r: r["index"])]
                        for f in sorted(place.iterdir())], axis=0)
        for place in (base, cand)
    }  # fmt: skip
    d = raw[cand] - raw[base]
    by_image = d.reshape(100, 3).sum(axis=1)
    error = np.sqrt(100 / 99 * ((by_image - 3 * d.mean()) ** 2).sum()) / 300
    assert found.headline.difference == pytest.approx(100 * d.mean())
    assert found.headline.change.error == pytest.approx(100 * error)
    assert [before.rows[i]["score"] for i in range(300)] == pytest.approx(list(raw[base]))


def test_f1_of_repeats_is_that_of_their_summed_tables(tmp_path):
    made = task(200, headline="f1")
    (before,) = load_all([side(tmp_path / "a", 1, 3, made)]).values()
    (after,) = load_all([side(tmp_path / "b", 2, 3, made)]).values()
    found = compare(before, after)
    rows = [row["stats"] for run in before.repeats for row in run.rows]
    tp, yes, golds = (
        sum(r["gold"] * r["yes"] for r in rows),
        sum(r["yes"] for r in rows),
        sum(r["gold"] for r in rows),
    )
    assert found.headline.base == pytest.approx(200 * tp / (yes + golds))


def test_repeats_take_the_noise_out_and_say_how_much(tmp_path):
    """Half of the answers are thrown dice: with four throws a side variance falls to a quarter."""
    made = task(2000)
    (before,) = load_all([side(tmp_path / "a", 1, 4, made)]).values()
    (after,) = load_all([side(tmp_path / "b", 1, 8, made)]).values()
    for at, run in enumerate(after.repeats):  # the dice of the last four, for the candidate
        edit(run.folder, id=f"cand-{at}")
    cand = together([load(run.folder) for run in after.repeats[4:]])
    found = compare(before, cand)
    assert (found.headline.change.error / found.alone) ** 2 == pytest.approx(0.25, rel=0.2)
    assert "each item is the mean of 4 baseline and 4 candidate runs" in text([found])
    assert "variance -7" in found.repeats
    plain = json.loads(to_json([found]))["tasks"][0]["repeats"]
    assert plain["base"] == plain["cand"] == 4 and plain["error_alone"] == found.alone


def test_identical_repeats_gain_nothing(tmp_path):
    made = task(200, per_image=2)
    for i in range(3):
        record(tmp_path / "a" / str(i), gold, made, "m")
        record(tmp_path / "b" / str(i), right_but(*range(0, 60, 5)), made, "n")
    (before,), (after,) = (load_all([tmp_path / name]).values() for name in "ab")
    found, once = compare(before, after), compare(before.repeats[0], after.repeats[0])
    assert found.headline.change == once.headline.change and "variance +0 %" in found.repeats
    assert found.lost == once.lost


def test_one_run_against_several(tmp_path):
    made = task(400)
    record(tmp_path / "a", moody(1, 0), made, "base")
    (after,) = load_all([side(tmp_path / "b", 2, 3, made)]).values()
    found = compare(load(tmp_path / "a"), after)
    assert found.headline.change.error < found.alone and not found.same_model


def gate(folder, base="a", cand="b", **more):
    config = Config(
        baseline=(str(folder / base),),
        tasks={"pope": TaskConfig(tier="critical", margin=1.7)},
        **more,
    )
    return attempt(config, [folder / cand], home=folder / "home", today=TODAY)


def test_what_one_run_leaves_undecided_repeats_decide(tmp_path):
    made = task(1500)
    side(tmp_path / "a", 1, 4, made), side(tmp_path / "b", 1, 8, made)
    for i in range(4):
        shutil.rmtree(tmp_path / "b" / str(i))
    once = gate(tmp_path, "a/0", "b/4")
    many = gate(tmp_path)
    assert (once.exit_code, many.exit_code) == (2, 0), [once.tasks, many.tasks]
    assert any("mean of 4 baseline and 4 candidate" in reason for reason in many.tasks[0].reasons)


def test_a_must_pass_item_breaks_when_most_repeats_break_it(tmp_path):
    made = task(300)
    for i in range(3):
        record(tmp_path / "a" / str(i), gold, made, "m")
        record(tmp_path / "b" / str(i), right_but(17, *([18] if i == 0 else [])), made, "n")
    for item, code in (("q17", 1), ("q18", 0)):
        how = TaskConfig(tier="standard", must_pass=(item,))
        config = Config(baseline=str(tmp_path / "a"), tasks={"pope": how})
        report = attempt(config, [tmp_path / "b"], home=tmp_path / item, today=TODAY)
        assert report.exit_code == code, report.tasks[0].reasons


def test_an_item_that_failed_in_one_repeat_has_no_result(tmp_path):
    made = task(200)
    record(tmp_path / "a/0", gold, made, "m")
    record(tmp_path / "a/1", lambda i: None if i < 20 else gold(i), made, "m")
    record(tmp_path / "b", gold, made, "n")
    (before,) = load_all([tmp_path / "a"]).values()
    found = compare(before, load(tmp_path / "b"))
    assert (found.shared, found.missing_base) == (180, 20)
    assert found.worst.value == 0 and found.best.value == pytest.approx(10)
    report = gate(tmp_path)
    assert report.exit_code == 3 and "coverage 90.0%" in report.errors[0]


def test_what_are_no_repeats_is_refused(tmp_path):
    record(tmp_path / "a/0", gold, task(40), "m")
    record(tmp_path / "models/0", gold, task(40), "m")
    record(tmp_path / "models/1", gold, task(40), "n")
    with pytest.raises(DataError, match=r"by two models; name the one that counts"):
        load_all([tmp_path / "models"])
    shutil.copytree(tmp_path / "a/0", tmp_path / "a/1")
    with pytest.raises(DataError, match="a run is no repeat of itself"):
        load_all([tmp_path / "a"])
    record(tmp_path / "c/0", gold, task(40), "m")
    record(tmp_path / "c/1", gold, task(39), "m")
    with pytest.raises(DataError, match=r"repeats must agree: .*data \(1 items\)|data"):
        load_all([tmp_path / "c"])
    allowed = load_all([tmp_path / "c"], ["data"])["pope"]
    assert len(allowed.rows) == 39 and [d.name for d in allowed.apart] == ["data"]
    record(tmp_path / "b", gold, task(39), "n")
    found = compare(allowed, load(tmp_path / "b"), allow=["data"])
    assert found.differences and "ADVICE ONLY" in text([found])


def test_repeats_are_blessed_together(tmp_path):
    made = task(1500)
    side(tmp_path / "a", 1, 4, made)
    entry = bless(tmp_path / "home", "v1", [tmp_path / "a"], "four throws")
    assert len(entry.runs) == 4 and len(entry.load()["pope"].repeats) == 4
    record(tmp_path / "other", gold, made, "another model")
    with pytest.raises(DataError, match="two models"):
        bless(tmp_path / "home", "v2", [tmp_path / "a/0", tmp_path / "other"], "mixed")


def test_the_plan_measures_what_repeats_buy(tmp_path):
    """All of the difference between two runs of this model is dice, so the share is one."""
    made = task(2000)
    (before,) = load_all([side(tmp_path / "a", 1, 4, made)]).values()
    (after,) = load_all([side(tmp_path / "b", 1, 8, made)]).values()
    config = Config(tasks={"pope": TaskConfig(tier="critical", margin=2)})
    (found,) = plan.forecast(config, {"pope": before}, [after.repeats[5]])
    assert found.noise == pytest.approx(1.0, abs=0.15) and found.noise_measured
    assert found.error == pytest.approx(compare(before.repeats[0], after.repeats[5])
                                        .headline.change.error)  # fmt: skip
    many = compare(before, together(after.repeats[4:]))
    assert found.error * (1 - found.noise + found.noise / 4) ** 0.5 == pytest.approx(
        many.headline.change.error, rel=0.15
    )
    assert found.repeats is not None and found.repeats > 1
    shown = plan.text([found])
    assert "measured on the baseline's 4 repeats" in shown
    assert (
        plan.undecided_chance(
            found.error * (1 - found.noise + found.noise / found.repeats) ** 0.5, 2, 0.05
        )
        <= 0.0501
    )
