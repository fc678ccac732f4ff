"""`sightline import` as people type it, and what can be done with an imported run."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from import_data import (
    FAILED,
    FIXTURES,
    QUESTIONS,
    changed,
    pope_questions,
    write_lmms_pope,
)
from small_data import write_pope

from harness.importers.inspect import _member
from harness.importing import import_log

ROOT = Path(__file__).resolve().parent.parent
POPE = FIXTURES / "lmms_eval" / "pope"
GATE = "gate:\n  baseline: old\n  margin: 10.0\n  tasks:\n    pope: {tier: critical}\n"


def sightline(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, timeout=120, env=_environment(),
    )  # fmt: skip


def _environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the run of a log, and of the same log with worse answers."""
    home = tmp_path_factory.mktemp("imported")
    done = sightline("import", POPE, "-d", QUESTIONS / "pope", "--out", home / "runs/old")
    assert done.returncode == 0, done.stderr
    (home / "said.txt").write_text(done.stdout, encoding="utf-8")
    worse = shutil.copytree(POPE, home / "worse")
    changed(
        next(worse.glob("*.jsonl")), lambda rows: [row | {"filtered_resps": "No"} for row in rows]
    )
    done = sightline("import", worse, "-q", "-d", QUESTIONS / "pope", "--out", home / "runs/new")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return home


def test_it_says_where_the_scores_differ_and_why(place):
    said = (place / "said.txt").read_text(encoding="utf-8")
    assert "lmms-eval" in said and "task pope, model made/scripted-1" in said
    assert "rows placed by position" in said and "every question compared" in said
    assert "pope_yes_ratio" in said and "counts the gold answers" in said
    assert "their parse rule (pope/lmms@1)" in said and "'Yes.'" not in said.split("\n")[0]
    assert "LMMS_EVAL_REQUEST_FAILED" in said and "failed" in said
    assert "next: sightline show" in said


def test_show_compare_report_and_board_take_it(place):
    shown = sightline("show", "runs/old", cwd=place)
    assert shown.returncode == 0 and "lmms-eval:made/scripted-1" in shown.stdout
    assert "coverage 88.9 % (32 of 36)" in shown.stdout
    compared = sightline("compare", "runs/old", "runs/new", cwd=place)
    assert compared.returncode == 0, compared.stderr
    assert "right -> wrong" in compared.stdout
    report = sightline("report", "runs/new", "--baseline", "runs/old", cwd=place)
    assert report.returncode == 0, report.stderr
    page = (place / "runs/new/report.html").read_text(encoding="utf-8")
    assert "lmms-eval:made/scripted-1" in page
    board = sightline("board", "runs/old", "runs/new", "--out", "board.html", cwd=place)
    assert board.returncode == 0, board.stderr
    assert "lmms-eval" in (place / "board.html").read_text(encoding="utf-8")


def test_the_gate_takes_it(tmp_path):
    data = write_pope(tmp_path / "pope", images=30, pictures=False)
    asked = [row for split in pope_questions(data).values() for row in split]
    gold = [row["label"] for row in asked]
    for name, said in (
        ("right", gold),
        ("chatty", [f"{word.capitalize()}." for word in gold]),
        ("worse", ["no" if at % 3 == 0 else word for at, word in enumerate(gold)]),
        ("broken", [FAILED if at % 20 == 0 else word for at, word in enumerate(gold)]),
    ):
        log = write_lmms_pope(tmp_path / name, asked, said, task="pope")
        import_log(log, tmp_path / "runs" / name, data=data)
    (tmp_path / "gate.yaml").write_text(GATE, encoding="utf-8")
    blessed = sightline("bless", "old", "runs/right", "--why", "an old log", cwd=tmp_path)
    assert blessed.returncode == 0, blessed.stderr
    for name, code, says in (
        ("chatty", 0, "GATE PASS"),  # there accuracy 0, by the official rule all right
        ("worse", 1, "GATE REGRESSED"),
        ("broken", 3, "coverage 95.0%"),
    ):
        done = sightline("gate", f"runs/{name}", cwd=tmp_path)
        assert done.returncode == code and says in done.stdout, done.stdout + done.stderr


def test_a_run_of_ours_is_comparable_and_other_settings_are_told(place, tmp_path):
    out = tmp_path / "ours"
    sightline("run", "-q", "-m", "constant:yes", "-t", "pope", "-d", QUESTIONS / "pope",
              "--out", out)  # fmt: skip
    assert sightline("compare", out, place / "runs/old").returncode == 0
    log = shutil.copytree(POPE, tmp_path / "log")
    results = next(log.glob("*_results.json"))
    text = results.read_text(encoding="utf-8").replace(
        '"max_new_tokens": 128', '"max_new_tokens": 16'
    )
    results.write_text(text, encoding="utf-8")
    other = tmp_path / "other"
    sightline("import", log, "-q", "-d", QUESTIONS / "pope", "--out", other)
    refused = sightline("compare", out, other)
    assert refused.returncode == 3 and '"max_tokens": 16' in refused.stderr
    assert sightline("compare", out, other, "--allow", "decoding").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["import", "nowhere.jsonl"], 3, "no such file or folder"),
        (["import", POPE, "--from", "lmeval"], 2, "did you mean lm-eval"),
        (["import", POPE, "--answers", "best"], 2, "no value of --answers 'best'"),
        (["import", POPE, "--task", "pop"], 2, "did you mean pope?"),
        (["import", FIXTURES / "inspect"], 2, "--task NAME"),
        (["import", FIXTURES / "lm_eval"], 2, "holds 2 logs"),
        (["import", FIXTURES / "README.md"], 3, "not a log of"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_a_code(words, code, says):
    done = sightline(*words, "--out", "never", "-d", QUESTIONS / "scienceqa")
    assert done.returncode == code and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (ROOT / "never").exists()


def test_a_folder_with_a_run_is_left_alone(place):
    before = (place / "runs/old/run.json").read_bytes()
    done = sightline("import", POPE, "-d", QUESTIONS / "pope", "--out", place / "runs/old")
    assert done.returncode == 2 and "already holds a run; name another --out" in done.stderr
    assert (place / "runs/old/run.json").read_bytes() == before


def test_hostile_words_stay_words(tmp_path):
    log = shutil.copytree(POPE, tmp_path / "log")
    rude = "\x1b]0;gotcha\x07\u202e{0.__class__}</script>"
    said = {"filtered_resps": rude, "pope_accuracy": {"score": 1, "prediction": rude}}
    changed(next(log.glob("*.jsonl")), lambda rows: [row | said for row in rows])
    done = sightline("import", log, "-d", QUESTIONS / "pope", "--out", tmp_path / "run")
    assert done.returncode == 0 and "gotcha" in done.stdout
    assert not set(done.stdout) & {"\x1b", "\x07", "\u202e"}
    report = sightline("report", tmp_path / "run")
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "__}</script>" not in page and "gotcha" in page


def test_fixtures_name_no_machine():
    found = {str(p): p.read_bytes() for p in FIXTURES.rglob("*") if p.is_file()}
    log = FIXTURES / "inspect" / "scienceqa.eval"
    with zipfile.ZipFile(log) as archive, log.open("rb") as file:
        for info in archive.infolist():
            found[info.filename] = _member(log, archive, file, info)
    assert len(found) > 30
    for name, raw in found.items():
        for word in (b"/tmp/", b"/home/", b"/root/", b"/Users/", b"site-packages"):
            assert word not in raw, f"{name}: {word!r}"


def test_what_the_other_tool_said_can_be_read_again(place):
    lines = (place / "runs/old/imported.jsonl").read_text(encoding="ascii").splitlines()
    rows = [json.loads(line) for line in lines]
    fields = {"id", "where", "score", "parsed", "target", "metrics", "kind", "why"}
    assert len(rows) == 36 and set(rows[0]) == fields
    section = json.loads((place / "runs/old/run.json").read_text())["imported"]
    assert section["rule"] == "pope/lmms@1"
    assert sum(line["rows"] for line in section["differences"]) == 36
