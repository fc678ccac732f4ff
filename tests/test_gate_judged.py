"""Judged tasks at the gate: a judge's mood and another judge are no change of the model."""

import json
import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from gate_runs import edit
from judged_runs import answered, judged, scripted

from reports.comparable import load
from reports.compare import compare
from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt


def scores(points):
    """A judge that gives the reference 8 and the answer what `points` says of its text."""
    return lambda sample, decoding: f"8 {points(str(sample.prompt))}"


def test_an_answer_that_is_the_same_keeps_its_verdict(tmp_path):
    """The judge is asked twice about the same answers and says another thing the second time."""
    task, folder = answered(tmp_path)
    shutil.copytree(folder, tmp_path / "again")
    judged(folder, task, scripted(scores(lambda text: 6)))
    judged(tmp_path / "again", task, scripted(scores(lambda text: 3)))
    found = compare(load(folder), load(tmp_path / "again"))
    assert found.headline.difference == 0 and found.same_text == found.shared == 12


def altered(folder: Path, to: Path) -> Path:
    """Copy a run with half of its answers changed."""
    shutil.copytree(folder, to)
    rows = [json.loads(line) for line in (to / "rows.jsonl").read_text().splitlines()]
    for row in rows[::2]:
        row["answer"]["text"] = "shorter"
    (to / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit(to, seal=None)
    return to


@pytest.fixture
def runs(tmp_path):
    """A baseline under an old judge, its copy under a new one, and a candidate under the new."""
    task, folder = answered(tmp_path)
    shutil.copytree(folder, tmp_path / "rejudged")
    altered(folder, tmp_path / "cand")
    stricter = scores(lambda text: 4 if "shorter" in text else 5)
    judged(folder, task, scripted(scores(lambda text: 7), name="old"))
    for name in ("rejudged", "cand"):
        judged(tmp_path / name, task, scripted(stricter, name="new"))
    return tmp_path, folder, task.name


def gate(home, base, task, **more):
    config = Config(baseline=str(base), tasks={task: TaskConfig(margin=50)}, length=(0, 9), **more)
    return attempt(config, [home / "cand"], home=home / "home", today=date(2026, 8, 1))


def test_another_judge_is_refused_and_the_split_adds_up(runs):
    home, base, task = runs
    assert gate(home, base, task).exit_code == 3
    report = gate(home, base, task, rejudged={task: str(home / "rejudged")})
    (note,) = (note for note in report.notes if "of the judge" in note)
    total, model, judge = (float(x) for x in re.findall(r"([+-]\d+\.\d+) (?:in all|of the)", note))
    before, after = load(base), load(home / "cand")
    name = before.head["task"]["headline"]
    values = [run.head["metrics"][name]["value"] for run in (before, after)]
    assert total == pytest.approx(values[1] - values[0], abs=0.02)
    assert total == pytest.approx(model + judge, abs=0.02) and judge == pytest.approx(-25, abs=0.1)
    assert report.tasks[0].comparison.headline.difference == pytest.approx(model, abs=0.01)


def test_other_answers_are_not_the_baseline_judged_again(runs):
    home, base, task = runs
    report = gate(home, base, task, rejudged={task: str(home / "cand")})
    assert report.exit_code == 3 and "does not hold the answers" in report.errors[0]
