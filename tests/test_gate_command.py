"""The gate as a pipeline calls it: exit codes, files, `--plan` and `--self-test`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gate_runs import gold, noisy, record, task

ROOT = Path(__file__).resolve().parent.parent
FIVE_LINES = """\
gate:
  baseline: v1
  margin: 1.0
  tasks:
    pope: {tier: critical}
"""


def sightline(*words, cwd, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, timeout=120,
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a configuration, a blessed baseline and candidates."""
    home = tmp_path_factory.mktemp("team")
    made = task(3000, per_image=3, headline="f1")
    record(home / "runs/base", noisy(0.1, 1), made)
    record(home / "runs/same", noisy(0.1, 1), made)
    record(home / "runs/worse", noisy(0.2, 2), made)
    record(home / "runs/few", gold, task(40, headline="f1"))
    (home / "gate.yaml").write_text(FIVE_LINES)
    done = sightline("bless", "v1", "runs/base", "--why", "the first release", cwd=home)
    assert done.returncode == 0 and "blessed v1" in done.stdout, done.stderr
    return home


def test_exit_codes(place):
    for run, code, says in (
        ("same", 0, "GATE PASS"),
        ("worse", 1, "GATE REGRESSED"),
        ("few", 3, "not comparable"),
        ("absent", 3, "no such folder"),
    ):
        done = sightline("gate", f"runs/{run}", cwd=place)
        assert done.returncode == code and says in done.stdout, done.stdout + done.stderr
    ledger = [json.loads(x) for x in (place / "baselines/ledger.jsonl").read_text().splitlines()]
    assert [line["exit"] for line in ledger[-4:]] == [0, 1, 3, 3]


@pytest.mark.parametrize(
    ("words", "config", "says"),
    [
        (["--nonsense"], FIVE_LINES, "No such option"),
        (["--plan=x"], FIVE_LINES, ""),
        ([], FIVE_LINES, "name the candidate"),
        (["runs/same", "-c", "no.yaml"], FIVE_LINES, "no.yaml: cannot be read"),
        (["runs/same", "--allow", "scores"], FIVE_LINES, "no aspect to allow"),
        (["runs/same"], FIVE_LINES.replace("pope:", "pop:"), "line 5: there is no task 'pop'"),
        (["runs/same"], FIVE_LINES.replace("1.0", "-1.0"), "line 3: margin"),
        (["runs/same"], FIVE_LINES.replace("  baseline: v1\n", ""), "has no baseline"),
        (["runs/same", "--json", "no/such/folder.json"], FIVE_LINES, "cannot be written"),
    ],
)
def test_usage_errors_are_64_and_never_look_like_a_verdict(place, tmp_path, words, config, says):
    path = tmp_path / "gate.yaml"
    path.write_text(config)
    chosen = [] if "-c" in words else ["-c", path, "--baselines", place / "baselines"]
    done = sightline("gate", *words, *chosen, cwd=place)
    assert done.returncode == 64 and says in done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_baseline_that_is_not_there_is_no_pass(place):
    done = sightline("gate", "runs/same", "--baseline", "v9", cwd=place)
    assert done.returncode == 3 and "no baseline 'v9'" in done.stdout


def test_a_fault_of_ours_is_not_a_regression(place, tmp_path):
    """Python itself exits with 1 after an exception; here 1 means that the candidate is worse."""
    (tmp_path / "sitecustomize.py").write_text(
        "import harness.paired\n"
        "def broken(*_, **__): raise ZeroDivisionError('a bug')\n"
        "harness.paired.holm = broken\n"
    )
    path = f"{tmp_path}:{ROOT}"
    done = sightline("gate", "runs/same", cwd=place, PYTHONPATH=path)
    assert done.returncode == 4 and "a fault of the gate" in done.stderr


def test_files_and_summaries_for_pipelines(place, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done = sightline(
        "gate", "runs/worse", "--junit", tmp_path / "j.xml", "--sarif", tmp_path / "s.sarif",
        "--json", tmp_path / "g.json", "--markdown", tmp_path / "g.md",
        cwd=place, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert done.returncode == 1 and "::error title=gate pope::REGRESSED" in done.stdout
    assert summary.read_text().startswith("before\n## Gate: REGRESSED")
    assert ElementTree.parse(tmp_path / "j.xml").find("testsuite").get("failures") == "1"
    assert json.loads((tmp_path / "s.sarif").read_text())["version"] == "2.1.0"
    assert json.loads((tmp_path / "g.json").read_text())["verdict"] == "REGRESSED"
    assert "## Gate: REGRESSED" in (tmp_path / "g.md").read_text()


def test_toml_and_run_folders_as_baseline_beside_the_file(place):
    (place / "gate.toml").write_text('[gate]\nbaseline = "runs/base"\nmargin = 1.0\n')
    done = sightline("gate", place / "runs/same", "-c", place / "gate.toml", cwd=place.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_plan_says_what_the_gate_can_see(place):
    done = sightline("gate", "--plan", "runs/worse", cwd=place)
    assert done.returncode == 0, done.stderr
    for said in ("items 3,000 in 1,000 clusters", "measured against", "3,000 calls",
                 "chance of UNDECIDED", "a margin of"):  # fmt: skip
        assert said in done.stdout


def test_self_test_makes_every_fault_ring(place):
    done = sightline("gate", "--self-test", "runs/worse", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("ok  ") for line in lines) == 6 and "FAIL" not in done.stdout
    assert "F1 to 0 at equal accuracy: exit 1" in done.stdout
    assert "sides swapped at random 200 times" in done.stdout


def test_waive(place, tmp_path):
    words = ["waive", "pope", "--max-drop", "2.0", "--why", "known", "--baselines", tmp_path]
    done = sightline(*words, "--until", "2999-12-31", cwd=place)
    assert done.returncode == 0 and "until 2999-12-31: known" in done.stdout
    past = sightline(*words, "--until", "2001-01-01", cwd=place)
    assert past.returncode == 2 and "is past" in past.stderr
