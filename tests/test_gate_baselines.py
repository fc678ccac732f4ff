"""What was blessed stays what it was; waivers end by themselves; small steps add up."""

import json
from datetime import date, timedelta

import pytest
from gate_runs import gold, noisy, record, right_but, task, wrong

from harness.errors import DataError, UsageError
from reports.gate.baselines import all_of, bless, find, waive, waivers
from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt

TODAY = date(2026, 8, 1)
TOMORROW = TODAY + timedelta(days=1)


def test_a_blessed_baseline_is_found_again_wherever_the_folder_moves(tmp_path):
    record(tmp_path / "x/runs/a", gold, task(40))
    entry = bless(tmp_path / "x/home", "team/llava@1", [tmp_path / "x/runs"], "first")
    assert entry.load()["pope"].task == "pope" and entry.why == "first"
    (tmp_path / "x").rename(tmp_path / "y")
    again = find(tmp_path / "y/home", "team/llava@1")
    assert again.digest == entry.digest and len(again.digest) == 64 and again.load()


def test_a_blessed_name_is_never_given_twice(tmp_path):
    record(tmp_path / "a", gold, task(40))
    bless(tmp_path / "home", "v1", [tmp_path / "a"], "first")
    with pytest.raises(UsageError, match="blessed already and never changes"):
        bless(tmp_path / "home", "v1", [tmp_path / "a"], "second thoughts")


@pytest.mark.parametrize("name", ["../up", "/etc/x", "", "a b", "a/../b", ".hidden", "x\n"])
def test_a_name_is_no_path(tmp_path, name):
    record(tmp_path / "a", gold, task(40))
    with pytest.raises(UsageError, match="cannot name a baseline"):
        bless(tmp_path / "home", name, [tmp_path / "a"], "why")
    with pytest.raises(DataError):
        find(tmp_path / "home", name)


def test_an_entry_or_a_run_that_was_touched_is_refused(tmp_path):
    record(tmp_path / "a", gold, task(40))
    entry = bless(tmp_path / "home", "v1", [tmp_path / "a"], "first")
    rows = tmp_path / "a/rows.jsonl"
    before = rows.read_bytes()
    rows.write_bytes(before.replace(b'"seconds"', b'"Seconds"') + b"\n")
    with pytest.raises(DataError, match=r"not what was blessed as v1: rows.jsonl changed"):
        entry.load()
    rows.write_bytes(before)
    (tmp_path / "a/derived.jsonl").write_text("")
    with pytest.raises(DataError, match=r"derived.jsonl changed or went away"):
        entry.load()
    path = tmp_path / "home/v1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"why": "better"}))
    with pytest.raises(DataError, match="edited after it was blessed"):
        find(tmp_path / "home", "v1")
    with pytest.raises(DataError, match="no baseline 'v2'"):
        find(tmp_path / "other", "v2")


def test_a_run_that_is_not_whole_cannot_be_blessed(tmp_path):
    from gate_runs import edit

    record(tmp_path / "a", gold, task(40))
    edit(tmp_path / "a", status="stopped")
    with pytest.raises(DataError, match="not finished"):
        bless(tmp_path / "home", "v1", [tmp_path / "a"], "first")
    assert all_of(tmp_path / "home") == []
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no run folder"):
        bless(tmp_path / "home", "v1", [tmp_path / "empty"], "first")


def test_the_last_waiver_of_a_task_stands_until_its_day(tmp_path):
    waive(tmp_path, "pope", TOMORROW, 5.0, "known", TODAY)
    waive(tmp_path, "pope", TODAY, 2.0, "less", TODAY)
    waive(tmp_path, "gqa", TOMORROW, 1.0, "noise", TODAY)
    active, expired = waivers(tmp_path, TODAY)
    assert [(w.task, w.max_drop) for w in active] == [("gqa", 1.0), ("pope", 2.0)] and not expired
    active, expired = waivers(tmp_path, TOMORROW)
    assert [w.task for w in active] == ["gqa"] and [w.task for w in expired] == ["pope"]


@pytest.mark.parametrize(
    ("until", "drop", "why"),
    [(TODAY - timedelta(days=1), 1.0, "x"), (TODAY, -1.0, "x"), (TODAY, float("nan"), "x"),
     (TODAY, 1.0, " ")],
)  # fmt: skip
def test_a_waiver_needs_a_day_a_drop_and_a_reason(tmp_path, until, drop, why):
    with pytest.raises(UsageError):
        waive(tmp_path, "pope", until, drop, why, TODAY)


def gate(tmp_path, name, cand, today=TODAY):
    config = Config(baseline=name, tasks={"pope": TaskConfig(tier="critical")})
    return attempt(config, [tmp_path / cand], home=tmp_path / "home", today=today)


def test_a_waiver_holds_at_the_gate_and_expires_by_itself(tmp_path):
    record(tmp_path / "a", gold, task(2000))
    record(tmp_path / "b", noisy(0.03, 1), task(2000))
    bless(tmp_path / "home", "v1", [tmp_path / "a"], "first")
    assert gate(tmp_path, "v1", "b").exit_code == 1
    waive(tmp_path / "home", "pope", TODAY, 5.0, "the new camera", TODAY)
    held = gate(tmp_path, "v1", "b")
    assert held.exit_code == 0 and any("the new camera" in note for note in held.notes)
    over = gate(tmp_path, "v1", "b", TOMORROW)
    assert over.exit_code == 1 and any("expired and has no effect" in note for note in over.notes)


def test_small_steps_are_held_against_the_last_major_baseline(tmp_path):
    """Each step is inside the margin; together they are not."""
    made = task(3000)
    for step in range(4):
        record(tmp_path / str(step), right_but(*range(0, 18 * step)), made)
    bless(tmp_path / "home", "v1", [tmp_path / "0"], "release", major=True)
    bless(tmp_path / "home", "v1.1", [tmp_path / "1"], "step")
    bless(tmp_path / "home", "v1.2", [tmp_path / "2"], "step")
    report = gate(tmp_path, "v1.2", "3")
    assert report.exit_code == 0
    assert any("RATCHET: pope is 1.80 below the last major baseline v1" in n for n in report.notes)
    assert not any("RATCHET" in note for note in gate(tmp_path, "v1", "1").notes)


def test_a_damaged_ledger_stops_the_gate(tmp_path):
    record(tmp_path / "a", gold, task(40))
    record(tmp_path / "b", wrong, task(40))
    bless(tmp_path / "home", "v1", [tmp_path / "a"], "first")
    (tmp_path / "home/ledger.jsonl").write_text("{}\nnonsense\n")
    with pytest.raises(DataError, match=r"ledger.jsonl, line 2: damaged"):
        gate(tmp_path, "v1", "b")
