"""What the gate remembers: small losses that add up, unplanned looks, judges that drift."""

import json
import shutil
from datetime import UTC, date, datetime, timedelta

import pytest
from gate_runs import edit, gold, noisy, record, right_but, task
from judged_runs import answered, judged, scripted

from reports.gate.baselines import bless
from reports.gate.config import Anchor, Config, ConfigError, TaskConfig, load
from reports.gate.evaluate import attempt

TODAY = date(2026, 8, 1)


def gate(home, name, cand, **more):
    config = Config(baseline=name, tasks={"pope": TaskConfig(tier="critical")}, **more)
    return attempt(config, [home / cand], home=home / "home", today=TODAY)


def stepped(home, steps, size, major="v0", **more):
    """Record models that each lose a little more, gate each against the one before and bless it."""
    made = task(2000)
    reports = []
    for step in range(steps + 1):
        record(home / str(step), right_but(*range(0, size * step)), made)
        if step:
            reports.append(gate(home, f"v{step - 1}", str(step), **more))
        bless(home / "home", f"v{step}", [home / str(step)], "step", major=f"v{step}" == major)
    return reports


def test_small_losses_are_let_through_twice_and_then_are_a_regression(tmp_path):
    """Each of them is 0.6 points at a margin of 1; three are 1.8."""
    reports = stepped(tmp_path, 3, 12)
    assert [r.exit_code for r in reports] == [0, 0, 1]
    assert [r.tasks[0].status for r in reports] == ["WARN", "WARN", "REGRESSED"]
    assert "small loss number 3 since the last major baseline" in reports[2].tasks[0].reasons[0]
    assert "(let through before: v1, v2)" in reports[2].tasks[0].reasons[0]
    assert "together 1.80" in reports[2].tasks[0].reasons[0]


def test_small_losses_within_the_margin_in_all_are_undecided(tmp_path):
    reports = stepped(tmp_path, 3, 5, margin=2.0)
    assert [r.tasks[0].status for r in reports] == ["WARN", "WARN", "UNDECIDED"]
    assert "bless a major baseline if they are accepted" in reports[2].tasks[0].reasons[0]


def test_a_major_baseline_begins_to_count_anew(tmp_path):
    assert [r.exit_code for r in stepped(tmp_path, 4, 12, major="v2")] == [0, 0, 0, 0]


def test_only_losses_that_were_shipped_count_and_the_number_is_the_teams(tmp_path):
    made = task(2000)
    record(tmp_path / "base", gold, made)
    bless(tmp_path / "home", "v0", [tmp_path / "base"], "first", major=True)
    for i in range(4):  # four candidates that warned and were never blessed
        record(tmp_path / f"c{i}", right_but(*range(12 * i, 12 * i + 12)), made)
        assert gate(tmp_path, "v0", f"c{i}").status == "WARN"
    assert gate(tmp_path, "v0", "c3", warnings=1).exit_code == 2
    assert gate(tmp_path, "v0", "c3", warnings=None).exit_code == 0


def test_a_third_try_of_two_cannot_pass(tmp_path):
    """The first look stops it; the second was planned; the third has no level left."""
    made = task(1000)
    record(tmp_path / "base", gold, made)
    record(tmp_path / "0", right_but(*range(0, 200)), made, "one model")
    for i in range(1, 4):
        record(tmp_path / str(i), gold, made, "one model")
    base = str(tmp_path / "base")
    codes = [gate(tmp_path, base, str(i), looks=2) for i in range(3)]
    assert [r.exit_code for r in codes] == [1, 0, 2]
    assert "this is look 3 and planned were 2" in codes[2].tasks[0].reasons[0]
    again = gate(tmp_path, base, "2", looks=2)
    assert again.exit_code == 2, "the same files again are the same look"
    assert gate(tmp_path, base, "1", looks=2).exit_code == 0
    ledger = [json.loads(x) for x in (tmp_path / "home/ledger.jsonl").read_text().splitlines()]
    assert [line["status"] for line in ledger[:3]] == ["REGRESSED", "PASS", "UNDECIDED"]


def test_looks_that_passed_and_other_models_are_no_tries(tmp_path):
    made = task(1000)
    record(tmp_path / "base", gold, made)
    for i in range(3):
        record(tmp_path / str(i), gold, made, "one model")
    base = str(tmp_path / "base")
    assert [gate(tmp_path, base, str(i)).exit_code for i in range(3)] == [0, 0, 0]
    record(tmp_path / "bad", noisy(0.2, 1), made, "worse")
    record(tmp_path / "mended", gold, made, "mended")
    assert gate(tmp_path, base, "bad").exit_code == 1
    assert gate(tmp_path, base, "mended").exit_code == 0


def test_another_configuration_between_attempts_is_told(tmp_path):
    made = task(1000)
    record(tmp_path / "base", gold, made)
    record(tmp_path / "cand", noisy(0.05, 1), made)
    base = str(tmp_path / "base")
    gate(tmp_path, base, "cand")
    report = gate(tmp_path, base, "cand", margin=50)
    assert any("is not that of the last attempt" in note for note in report.notes)


def points(wanted):
    return lambda sample, decoding: f"8 {wanted(str(sample.prompt))}"


@pytest.fixture
def anchored(tmp_path):
    """A judged baseline and candidate, and a run of anchors that people labelled."""
    made, folder = answered(tmp_path)
    for name in ("cand", "anchors"):
        shutil.copytree(folder, tmp_path / name)
    for name in ("run", "cand"):
        judged(tmp_path / name, made, scripted(points(lambda text: 6)))
    rows = [json.loads(x) for x in (tmp_path / "anchors/rows.jsonl").read_text().splitlines()]
    labels = "".join(f"{row['id']},reference\n" for row in rows)
    (tmp_path / "people.csv").write_text(f"id,label\n{labels}")
    return tmp_path, made


def held(home, made, judge, **more):
    """Judge the anchors and gate."""
    judged(home / "anchors", made, scripted(judge), fresh=True)
    anchor = {"run": str(home / "anchors"), "labels": str(home / "people.csv"), "items": 12}
    anchor = Anchor(**anchor | {"agreement": 0.8} | more)
    config = Config(
        baseline=str(home / "run"), tasks={made.name: TaskConfig(margin=50)},
        anchors={made.name: anchor}, length=(0, 9),
    )  # fmt: skip
    return attempt(config, [home / "cand"], home=home / "home", today=TODAY)


def test_a_judge_that_agrees_with_people_may_judge(anchored):
    report = held(*anchored, points(lambda text: 6))
    assert report.tasks[0].status == "ADVISORY", report.errors  # of four pictures, not of drift
    assert any("agreement 1.00 (at least 0.8)" in note for note in report.notes)


def test_a_judge_that_drifted_makes_its_tasks_incomparable(anchored):
    """Under the same name it now prefers the candidate, four times out of twelve."""
    report = held(*anchored, points(lambda t: 9 if "Candidate 2" in t or "Candidate 3" in t
                                    or "Candidate 4" in t else 6))  # fmt: skip
    assert report.exit_code == 3
    assert "has drifted: agreement with people is 0.75, at least 0.8 is needed" in report.errors[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"items": 13}, "12 anchors have both a label and a verdict, 13 must"),
        ({"kappa": 0.5}, "kappa with people is no value"),
        ({"sha256": "0" * 16}, "not those that were agreed on"),
        ({"run": "absent"}, "not a run folder"),
    ],
)
def test_anchors_that_prove_nothing_are_no_proof(anchored, change, says):
    report = held(*anchored, points(lambda text: 6), **change)
    assert report.exit_code == 3 and says in report.errors[0]


def test_anchors_of_another_judge_or_of_long_ago_say_nothing(anchored):
    home, made = anchored
    old = (datetime.now(UTC) - timedelta(days=40)).isoformat(timespec="seconds")
    assert held(home, made, points(lambda text: 6), days=30).tasks[0].status == "ADVISORY"
    head = json.loads((home / "anchors/run.json").read_text())
    edit(home / "anchors", judging=head["judging"] | {"finished": old})
    anchor = Anchor(run=str(home / "anchors"), labels=str(home / "people.csv"), agreement=0.8,
                    items=12, days=30)  # fmt: skip
    config = Config(baseline=str(home / "run"), tasks={made.name: TaskConfig(margin=50)},
                    anchors={made.name: anchor}, length=(0, 9))  # fmt: skip
    report = attempt(config, [home / "cand"], home=home / "home", today=TODAY)
    assert report.exit_code == 3 and "were judged 40 days ago" in report.errors[0]
    judged(home / "anchors", made, scripted(points(lambda text: 6), name="other"))
    report = attempt(config, [home / "cand"], home=home / "home", today=TODAY)
    assert report.exit_code == 3 and "not judged by the judge of the candidate" in report.errors[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("pope: {run: a, labels: b}", "line 3: anchors.pope: .*needs a bound"),
        ("pope: {run: a, labels: b, agreement: 2}", "line 3: anchors.pope.agreement"),
        ("pope: {run: a, labels: b, aggreement: 1}", "known: run, labels"),
        ("gqa: {run: a, labels: b, kappa: 0.5}", "line 3: anchors of gqa, which is not gated"),
    ],
)
def test_the_configuration_of_anchors_is_checked(tmp_path, line, says):
    path = tmp_path / "gate.yaml"
    path.write_text(f"gate:\n  anchors:\n    {line}\n  tasks: {{pope: {{}}}}\n")
    with pytest.raises(ConfigError, match=says):
        load(path)
