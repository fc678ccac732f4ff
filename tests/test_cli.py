"""The command as people type it, in a process of its own."""

import csv
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from small_data import write_pope

ROOT = Path(__file__).resolve().parent.parent


def sightline(*words: object, **more) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, **more,
    )  # fmt: skip


def test_run_show_export(tmp_path):
    data, out = write_pope(tmp_path / "pope"), tmp_path / "run"
    done = sightline(
        "run", "--model", "constant:yes", "--task", "pope", "--data", data, "--out", out
    )
    assert done.returncode == 0, done.stderr
    assert "adversarial.f1" in done.stdout and "66.67" in done.stdout
    assert f"sightline show {out}" in done.stdout and "72/72" in done.stderr
    shown = sightline("show", out)
    assert (
        "coverage 100.0 % (72 of 72)" in shown.stdout and "not a published version" in shown.stdout
    )
    summary = json.loads(sightline("export", out, "--json").stdout)
    assert {
        "task": "pope",
        "model": "constant:yes",
        "status": "complete",
    }.items() <= summary.items()
    assert summary["counts"]["scored"] == 72
    assert set(summary["metrics"]["mean.f1"]) == {"value", "low", "high", "n"}
    assert summary["metrics"]["adversarial.f1"]["value"] == pytest.approx(200 / 3)
    rows = list(csv.DictReader(StringIO(sightline("export", out, "--csv").stdout)))
    assert len(rows) == 72 and rows[0]["text"] == "yes"
    made = sightline("export", out, "--parquet", "--out", tmp_path / "rows.parquet")
    assert made.returncode == 0 and (tmp_path / "rows.parquet").stat().st_size > 0


def test_spreadsheets_do_not_run_what_a_model_wrote(tmp_path):
    data = write_pope(tmp_path / "pope", pictures=False)
    out = tmp_path / "run"
    sightline("run", "-m", "constant:=cmd|' /C calc'!A0", "-t", "pope", "-d", data, "--out", out)
    rows = list(csv.DictReader(StringIO(sightline("export", out, "--csv").stdout)))
    assert {row["text"] for row in rows} == {"'=cmd|' /C calc'!A0"}


def test_terminals_are_not_steered_by_a_reply(tmp_path):
    from harness.api import run
    from harness.types import Failure

    class Rude:
        name, looks = "rude", False

        def describe(self):
            return {}

        def answer(self, samples, ask, decoding):
            yield from ((i, Failure("\x1b]0;gotcha\x07\u202eevil")) for i in range(len(samples)))

    data = write_pope(tmp_path / "pope", pictures=False)
    run(Rude(), "pope", data=data, out=tmp_path / "run", max_failures=1)
    shown = sightline("show", tmp_path / "run").stdout
    assert "gotcha" in shown and not set(shown) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "-m", "oracle", "-t", "pop", "-d", "."], 2, "no task 'pop'; did you mean pope?"),
        (["run", "-m", "oracl", "-t", "pope", "-d", "DATA"], 2, "did you mean oracle"),
        (
            ["run", "-m", "oracle", "-t", "pope/lms", "-d", "DATA"],
            2,
            "no variant of pope 'lms'; did you mean lmms",
        ),
        (["run", "-m", "oracle", "-t", "pope", "-d", "no/such"], 3, "no file or folder no/such"),
        (["run", "-m", "oracle", "-t", "pope"], 3, "no data was named"),
        (["run", "-m", "oracle", "-t", "pope", "-d", "EMPTY"], 3, "Expected coco_pope_random.json"),
        (
            ["run", "-m", "oracle", "-t", "pope", "-d", "DATA", "--resume"],
            2,
            "--resume needs --out",
        ),
        (["run", "-m", "oracle", "-t", "pope", "-d", "DATA", "--limit", "0"], 2, "--limit is 0"),
        (["run", "-m", "oracle", "-t", "pope", "-d", "DATA", "-o", "x"], 2, "NAME=VALUE"),
        (
            ["run", "-m", "oracle", "-t", "pope", "-d", "DATA", "-o", "a=1"],
            2,
            "option of the model",
        ),
        (["run", "-m", "oracle:x", "-t", "pope", "-d", "DATA"], 2, "takes no address"),
        (["show", "no/such"], 3, "not a run folder"),
        (["export", "no/such", "--json"], 3, "not a run folder"),
        (["export", "no/such", "--json", "--csv"], 2, "exactly one"),
        (["run", "--nonsense"], 2, "No such option"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(tmp_path, words, code, says):
    (tmp_path / "empty").mkdir()
    places = {"DATA": write_pope(tmp_path / "pope", pictures=False), "EMPTY": tmp_path / "empty"}
    done = sightline(*(places.get(word, word) for word in words))
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr


def test_dry_run_asks_nothing_that_is_kept(tmp_path):
    data = write_pope(tmp_path / "pope")
    done = sightline(
        "run", "-m", "random", "-t", "pope", "-d", data, "--dry-run", "--out", tmp_path / "run"
    )
    assert done.returncode == 0 and not (tmp_path / "run").exists()
    for part in (
        "72 in 4 clusters",
        "4 distinct, shown 72 times",
        "samples/s, measured on the first 16",
    ):
        assert part in done.stdout


def test_check_finds_what_is_wrong(tmp_path):
    data = write_pope(tmp_path / "pope")
    good = sightline("check", "pope", "--data", data)
    assert good.returncode == 0 and good.stdout.count("ok  ") == 5, good.stdout + good.stderr
    broken = data / "images" / "scene_0002.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (data / "images" / "scene_0003.jpg").unlink()
    bad = sightline("check", "pope", "--data", data)
    assert bad.returncode == 3 and "FAIL  images: 2 of 4 do not open" in bad.stdout
    assert "scene_0002.jpg" in bad.stdout and "scene_0003.jpg" in bad.stdout


def test_list_names_every_file_and_variant():
    listed = sightline("list").stdout
    names = [p.stem for p in (ROOT / "tasks").glob("[!_]*.py")]
    names += [p.stem for p in (ROOT / "harness" / "models").glob("[!_]*.py")]
    assert len(names) > 8 and all(f"  {name} " in listed for name in names)
    assert "pope/vlmeval" in listed


def test_help_of_every_verb():
    for verb in ("run", "show", "check", "export", "list"):
        done = sightline(verb, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    data, out = write_pope(tmp_path / "pope", pictures=False), tmp_path / "run"
    sightline("run", "-m", "oracle", "-t", "pope", "-d", data, "--out", out)
    command = f"{sys.executable} -m harness export {out} --csv | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and done.stdout.startswith("index,")
