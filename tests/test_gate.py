"""The gate: what passes, what is stopped, what nobody can tell, and what is no gate at all."""

import json
import random
from datetime import date

import pytest
from gate_runs import edit, gold, noisy, record, right_but, task, wrong

from harness.paired import Change
from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt
from reports.gate.verdict import EXIT, SUITE, Evidence, decide, with_gaps

TODAY = date(2026, 8, 1)


def gated(tmp_path, base, cand, made=None, other=None, how=None, **more):
    """Gate one toy task; critical unless said otherwise."""
    made = made or task(3000, per_image=3)
    record(tmp_path / "base", base, made)
    record(tmp_path / "cand", cand, other or made)
    config = Config(
        baseline=(str(tmp_path / "base"),),
        tasks={made.name: TaskConfig(**{"tier": "critical", **(how or {})})},
        **more,
    )
    return attempt(config, [tmp_path / "cand"], home=tmp_path / "home", today=TODAY)


def test_the_same_answers_pass(tmp_path):
    report = gated(tmp_path, noisy(0.2, 1), noisy(0.2, 1))
    assert (report.status, report.exit_code) == ("PASS", 0), report.tasks[0].reasons


def test_a_loss_blocks_and_a_gain_does_not(tmp_path):
    worse = gated(tmp_path / "a", noisy(0.10, 1), noisy(0.15, 2))
    assert worse.exit_code == 1 and "may exceed the margin" in worse.tasks[0].reasons[0]
    better = gated(tmp_path / "b", noisy(0.15, 2), noisy(0.12, 1))
    assert better.exit_code == 0


def test_a_small_certain_loss_warns(tmp_path):
    report = gated(tmp_path, gold, right_but(*range(0, 3000, 250)))
    assert (report.status, report.exit_code) == ("WARN", 0)
    assert "less than the margin of 1" in report.tasks[0].reasons[0]


def test_too_little_data_for_a_critical_task_is_undecided_and_says_what_would_do(tmp_path):
    made = task(400)
    report = gated(tmp_path / "a", noisy(0.2, 1), noisy(0.2, 2), made)
    assert (report.status, report.exit_code) == ("UNDECIDED", 2)
    assert "times the items, or a margin of" in report.tasks[0].reasons[0]
    standard = gated(tmp_path / "b", noisy(0.2, 1), noisy(0.2, 2), made, how={"tier": "standard"})
    assert standard.exit_code == 0


# What others let through or stop wrongly (PEERS): empty folders, 40 of 1,000 items and a shuffled
# order passed; one flip of 30 was a NO-GO; F1 at equal accuracy and a judge's outage went unseen.


def test_empty_folders_do_not_pass(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "cand").mkdir()
    for base in ((str(tmp_path / "base"),), "never-blessed"):
        config = Config(baseline=base, tasks={"pope": TaskConfig()})
        report = attempt(config, [tmp_path / "cand"], home=tmp_path / "home", today=TODAY)
        assert report.exit_code == 3 and report.errors and not report.tasks


def test_40_of_1000_items_do_not_pass(tmp_path):
    made = task(1000)
    few = gated(tmp_path / "a", gold, gold, made, task(40))
    assert few.exit_code == 3 and "960 of them in no row of the candidate" in few.errors[0]
    failed = gated(tmp_path / "b", gold, lambda i: gold(i) if i < 40 else None, made)
    assert failed.exit_code == 3 and "coverage 4.0% (40 of" in failed.errors[0]
    allowed = gated(tmp_path / "c", gold, gold, made, task(40), allow=("data",))
    assert allowed.exit_code == 3


def test_coverage_is_exact_at_its_limit(tmp_path):
    gap = lambda n: lambda i: None if i < n else gold(i)  # noqa: E731
    assert gated(tmp_path / "a", gold, gap(10), task(1000), how={"tier": "standard"}).exit_code != 3
    assert gated(tmp_path / "b", gold, gap(11), task(1000), how={"tier": "standard"}).exit_code == 3


def test_a_shuffled_order_changes_nothing(tmp_path):
    order = list(range(3000))
    random.Random(1).shuffle(order)
    made, other = task(3000, per_image=3), task(3000, per_image=3, order=order)
    report = gated(tmp_path, noisy(0.2, 1), noisy(0.2, 1), made, other)
    assert report.exit_code == 0 and not report.tasks[0].comparison.lost


def test_one_flip_of_30_is_no_regression(tmp_path):
    one = task(30)
    assert gated(tmp_path / "a", gold, right_but(3), one, how={"tier": "standard"}).exit_code == 0
    assert gated(tmp_path / "b", gold, right_but(3), one).exit_code == 2


def test_f1_that_falls_at_equal_accuracy_blocks(tmp_path):
    made = task(1000, headline="f1")
    report = gated(tmp_path, lambda i: "yes", lambda i: "no", made, length=(0, 9))
    assert report.exit_code == 1 and report.tasks[0].ruling.status == "REGRESSED"


def test_a_judge_that_was_away_does_not_pass(tmp_path):
    out = gated(tmp_path / "a", gold, lambda i: "judge" if i % 5 == 0 else gold(i))
    assert out.exit_code == 3 and "coverage 80.0%" in out.errors[0]
    all_out = gated(tmp_path / "b", gold, lambda i: "judge")
    assert all_out.exit_code == 3


def test_a_broken_extractor_that_raises_the_score_is_suspicious(tmp_path):
    report = gated(tmp_path / "a", noisy(0.3, 1), gold)
    assert report.exit_code == 0 and report.status == "WARN"
    assert "SUSPICIOUS: accuracy rose by" in report.tasks[0].suspicious
    strict = gated(tmp_path / "b", noisy(0.3, 1), gold, suspicious="undecided")
    assert strict.exit_code == 2


def test_missing_results_that_could_turn_the_verdict_leave_it_undecided(tmp_path):
    made, standard = task(1000), {"tier": "standard", "coverage": 0.9}
    gap = lambda i: None if i < 30 else gold(i)  # noqa: E731
    report = gated(tmp_path / "a", gold, gap, made, how=standard)
    assert report.exit_code == 2
    assert "hangs on missing results: REGRESSED if they went badly" in report.tasks[0].reasons[0]
    few = gated(tmp_path / "b", gold, lambda i: None if i < 2 else gold(i), made, how=standard)
    assert few.exit_code == 0


@pytest.mark.parametrize(
    ("say", "name"),
    [
        (lambda i: "yes", "yes_ratio"),
        (lambda i: "maybe" if i % 40 == 0 else gold(i), "unparsed"),
        (lambda i: gold(i) + "..." if i % 40 == 0 else gold(i), "truncation"),
        (lambda i: gold(i) + "........", "length"),
    ],
)
def test_invariants_block_whatever_the_mean_does(tmp_path, say, name):
    how = {"also": ("yes_ratio in 0.40..0.60",), "tier": "standard", "margin": 99}
    report = gated(tmp_path, lambda i: "yes" if i % 2 else "no", say, how=how)
    broken = [check.name for check in report.tasks[0].checks if not check.ok]
    assert report.exit_code == 1 and name in broken


def test_must_pass_items_block_one_by_one(tmp_path):
    must = {"tier": "standard", "must_pass": ("q17",)}
    assert gated(tmp_path / "a", gold, right_but(17), how=must).exit_code == 1
    assert gated(tmp_path / "b", gold, right_but(18), how=must).exit_code == 0
    assert gated(tmp_path / "c", right_but(17), right_but(17), how=must).exit_code == 0
    gap = lambda i: None if i == 17 else gold(i)  # noqa: E731
    assert gated(tmp_path / "d", gold, gap, how=must).exit_code == 2
    unknown = gated(tmp_path / "e", gold, gold, how={"must_pass": ("q17", "nope")})
    assert unknown.exit_code == 3 and "nope" in unknown.errors[0]


@pytest.mark.parametrize("side", ["base", "cand"])
def test_a_run_that_was_edited_is_no_evidence(tmp_path, side):
    record(tmp_path / "base", gold, task(100))
    record(tmp_path / "cand", gold, task(100))
    edit(tmp_path / side, status="stopped")
    config = Config(baseline=str(tmp_path / "base"), tasks={"pope": TaskConfig()})
    report = attempt(config, [tmp_path / "cand"], home=tmp_path / "home", today=TODAY)
    assert report.exit_code == 3 and "stopped" in report.errors[0]


def test_nothing_gated_is_not_a_pass(tmp_path):
    assert gated(tmp_path / "a", gold, gold, how={"tier": "advisory"}).exit_code == 3
    few = gated(tmp_path / "b", gold, right_but(1), task(9), how={"tier": "standard"})
    assert few.exit_code == 3 and "no task can block" in few.errors[0]
    empty = Config(baseline=str(tmp_path / "a/base"), tasks={})
    report = attempt(empty, [tmp_path / "a/cand"], home=tmp_path / "h", today=TODAY)
    assert report.exit_code == 3 and "selects none" in report.errors[0]
    absent = Config(baseline=str(tmp_path / "a/base"), tasks={"gqa": TaskConfig()})
    report = attempt(absent, [tmp_path / "a/cand"], home=tmp_path / "h", today=TODAY)
    assert report.exit_code == 3 and "the baseline has no run of gqa" in report.errors[0]


def test_what_is_allowed_to_differ_can_only_advise(tmp_path):
    """A critical task whose scorer changed can neither block nor pass for proven."""
    for name in ("pope", "gqa"):
        record(tmp_path / "base" / name, gold, task(2000, name=name))
        scorer = "toy@2" if name == "gqa" else "toy@1"
        record(tmp_path / "cand" / name, noisy(0.2, 1) if name == "gqa" else gold,
               task(2000, name=name, scorer=scorer))  # fmt: skip
    tasks = {name: TaskConfig(tier="critical") for name in ("pope", "gqa")}
    for allow, code in (((), 3), (("scorer",), 0)):
        config = Config(baseline=str(tmp_path / "base"), tasks=tasks, allow=allow)
        report = attempt(config, [tmp_path / "cand"], home=tmp_path / "home", today=TODAY)
        assert report.exit_code == code
    assert {t.task: t.status for t in report.tasks}["gqa"] == "ADVISORY"


def change(value, error, clusters=500):
    from scipy.special import stdtr

    p = float(stdtr(clusters - 1, value / error))
    return Change(value, error, clusters - 1, p, 2 * min(p, 1 - p), clusters, "sign-flip")


def test_small_drops_in_every_task_block_together():
    drops = {str(i): Evidence("standard", change(-0.5, 0.3), 1.0) for i in range(8)}
    decision = decide(drops)
    assert decision.suite_rejected and decision.status == "REGRESSED"
    assert all(ruling.status != "REGRESSED" for ruling in decision.tasks.values())
    assert not decide(drops, suite_margin=0.5).suite_rejected


def test_holm_counts_the_gated_tasks_and_the_suite():
    evidence = {"a": Evidence("standard", change(-2.0, 0.9), 1.0)}
    assert decide(evidence).tasks["a"].p_holm == pytest.approx(evidence["a"].change.p_worse)
    calm = {str(i): Evidence("standard", change(1.0, 0.9), 1.0) for i in range(3)}
    more = decide(evidence | calm)
    assert more.tasks["a"].p_holm == pytest.approx(5 * evidence["a"].change.p_worse)
    advisory = {"x": Evidence("advisory", change(-9.0, 0.9), 1.0)}
    assert decide(evidence | advisory).tasks["a"].p_holm == decide(evidence).tasks["a"].p_holm
    assert decide(evidence | advisory).tasks["x"].status == "ADVISORY"


def test_advice_alone_is_no_pass():
    assert decide({"x": Evidence("advisory", change(1.0, 0.9), 1.0)}).status == "INVALID"
    assert decide({}).status == "INVALID"


def test_a_waiver_lets_a_known_loss_through_and_no_more():
    for value, status in ((-1.5, "WARN"), (-2.5, "REGRESSED")):
        found = {"a": Evidence("critical", change(value, 0.1), 1.0, waived=2.0)}
        assert decide(found).status == status
    assert SUITE not in decide(found).tasks


def test_nobody_knows_what_missing_results_hide():
    """A metric whose gaps cannot be bounded is undecided, for a critical and a standard task."""
    for tier in ("critical", "standard"):
        seen = {"a": Evidence(tier, change(0.0, 0.1), 1.0)}
        hidden = {"a": Evidence(tier, None, 1.0)}
        decision = with_gaps(decide(seen), decide(hidden), decide(hidden))
        assert EXIT[decision.status] == 2


def test_another_unit_needs_a_margin_of_its_own(tmp_path):
    from dataclasses import replace

    from harness.types import Metric
    from reports.gate.config import ConfigError

    made = replace(task(500), metrics=(Metric("points", percent=False),), headline="points")
    with pytest.raises(ConfigError, match="give the task a `margin` in the metric's own unit"):
        gated(tmp_path / "a", gold, gold, made)
    assert gated(tmp_path / "b", gold, gold, made, how={"margin": 0.02}).exit_code == 0


def test_every_attempt_is_in_the_ledger_and_told(tmp_path):
    for _ in range(2):
        report = gated(tmp_path / "a", gold, wrong) if not (tmp_path / "a").exists() else attempt(
            Config(baseline=str(tmp_path / "a/base")), [tmp_path / "a/cand"],
            home=tmp_path / "a/home", today=TODAY,
        )  # fmt: skip
    lines = [json.loads(x) for x in (tmp_path / "a/home/ledger.jsonl").read_text().splitlines()]
    assert [(x["status"], x["exit"]) for x in lines] == [("REGRESSED", 1)] * 2
    assert any("attempt 2 of this model" in note and "REGRESSED" in note for note in report.notes)
    assert any("trying until it passes" in note for note in report.notes)


def test_planned_looks_split_the_level(tmp_path):
    flips = right_but(*range(0, 12, 2))  # p = 1/64, one-sided
    once = gated(tmp_path / "a", gold, flips, task(400), how={"tier": "standard", "margin": 0})
    twice = gated(tmp_path / "b", gold, flips, task(400), looks=4,
                  how={"tier": "standard", "margin": 0})  # fmt: skip
    assert (once.exit_code, twice.exit_code) == (1, 0)


def test_config_waivers_end_on_their_day(tmp_path):
    waiver = {"task": "pope", "until": TODAY, "max_drop": 50.0, "why": "known"}
    report = gated(tmp_path, gold, noisy(0.1, 1), waivers=(waiver,))
    assert report.exit_code == 0 and "waived" in report.tasks[0].reasons[0]
    assert any("until 2026-08-01: known" in note for note in report.notes)
