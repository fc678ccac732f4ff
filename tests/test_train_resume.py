"""Going on after a crash gives the run that was never interrupted; two processes give one's."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_llava, make_llava_next
from train_data import make_records, write_pictures, write_records
from train_process import kill_after_a_checkpoint, launch

from harness.errors import DataError, UsageError
from trainers.engine import model, resume
from trainers.engine.log import Log, read
from trainers.engine.loop import train
from trainers.recipe import find

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent
TEXT = r".*language_model.*\.(q|v)_proj"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("resume")
    make_llava(root / "plain")
    make_llava(root / "base")
    make_llava_next(root / "next")
    for kind in ("base", "next"):  # dropout: a wrong random state would show
        config = json.loads((root / kind / "config.json").read_text())
        config["text_config"]["attention_dropout"] = 0.1
        (root / kind / "config.json").write_text(json.dumps(config))
    names = write_pictures(root / "img", 6)
    write_records(root / "d.json", make_records(names, 22, text_only=0.3))
    return root


def recipe(**changes):
    common = {"batch_size": 4, "micro_batch": 2, "precision": "fp32", "lr": 1e-3, "epochs": 2,
              "save_every": 3, "images.position": "random", "images.cache": "none",
              "max_length": 512, "keep": 9}  # fmt: skip
    return find("finetune", common | changes)


class Crash(Exception):
    """What ends a run in the middle."""


def run(world, out, *, resumed=False, crash_at=0, source="base", monkeypatch=None, **changes):
    """Train; with `crash_at`, fail in the backward pass of that step."""
    if crash_at:
        from trainers.engine.trainer import Training

        whole = Training.compute_loss

        def failing(self, *args, **kwargs):
            if self.state.global_step == crash_at:
                raise Crash
            return whole(self, *args, **kwargs)

        monkeypatch.setattr(Training, "compute_loss", failing)
    try:
        return train(recipe(**changes), world / source, world / "d.json", out,
                     images=world / "img", resumed=resumed, quiet=True)  # fmt: skip
    finally:
        if crash_at:
            monkeypatch.undo()


def without_time(lines):
    slow = {"seconds", "tokens_per_s"}
    return [{k: v for k, v in line.items() if k not in slow} for line in lines]


def assert_same(one, two):
    first, second = (load_file(x.model / "model.safetensors") for x in (one, two))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert without_time(one.log) == without_time(two.log)


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("base", {}),
        ("next", {"packing": True, "pack_length": 1024, "micro_batch": 1}),
        ("base", {"lora.r": 4, "lora.pattern": TEXT, "trainable": [".*projector.*"]}),
        ("base", {"precision": "bf16", "trainable": [".*projector.*"],
                  "activation_checkpointing": True}),
    ],
    ids=["full", "packed", "lora", "bf16"],
)  # fmt: skip
def test_a_run_that_goes_on_is_the_run_never_interrupted(
    world, tmp_path, monkeypatch, source, changes
):
    whole = run(world, tmp_path / "whole", source=source, **changes)
    with pytest.raises(Crash):
        run(world, tmp_path / "cut", source=source, crash_at=5, monkeypatch=monkeypatch, **changes)
    assert json.loads((tmp_path / "cut/run.json").read_text())["status"] == "stopped"
    again = run(world, tmp_path / "cut", source=source, resumed=True, **changes)
    assert again.run["status"] == "complete" and again.run["samples"] == whole.run["samples"]
    assert_same(whole, again)


def test_a_crash_before_the_first_checkpoint_begins_anew(world, tmp_path, monkeypatch):
    whole = run(world, tmp_path / "whole")
    with pytest.raises(Crash):
        run(world, tmp_path / "cut", crash_at=1, monkeypatch=monkeypatch)
    assert_same(whole, run(world, tmp_path / "cut", resumed=True))


def test_weights_that_were_not_restored_are_noticed(world, tmp_path):
    run(world, tmp_path / "o", max_steps=3)
    ready = model.prepare(recipe(), tmp_path / "o/checkpoint-3")
    assert resume.verify(ready.model, tmp_path / "o/checkpoint-3") > 50
    with pytest.raises(DataError, match="not those of the checkpoint"):
        resume.verify(model.prepare(recipe(), world / "base").model, tmp_path / "o/checkpoint-3")
    path = tmp_path / "o/checkpoint-3/model.safetensors"
    found = load_file(path)
    found.pop("lm_head.weight")
    save_file(found, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match="lm_head"):
        resume.verify(ready.model, tmp_path / "o/checkpoint-3")


def test_another_recipe_other_data_or_a_finished_run_are_refused(world, tmp_path, monkeypatch):
    with pytest.raises(Crash):
        run(world, tmp_path / "o", crash_at=4, monkeypatch=monkeypatch)
    with pytest.raises(UsageError, match=r"lr: 0\.001 before, 0\.01 now"):
        run(world, tmp_path / "o", resumed=True, lr=1e-2)
    other = write_records(tmp_path / "d.json", make_records(["0000.png"], 22, seed=5))
    with pytest.raises(UsageError, match="files of records"):
        train(recipe(), world / "base", other, tmp_path / "o", images=world / "img", resumed=True,
              quiet=True)  # fmt: skip
    run(world, tmp_path / "o", resumed=True, log_every=2)
    with pytest.raises(UsageError, match="is complete"):
        run(world, tmp_path / "o", resumed=True)
    with pytest.raises(UsageError, match="no run to go on with"):
        run(world, tmp_path / "none", resumed=True)


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    for step in (2, 10, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step != 10:
            resume.mark(tmp_path / f"checkpoint-{step}", {"step": step})
    assert resume.latest(tmp_path) == tmp_path / "checkpoint-4"
    assert not (tmp_path / "checkpoint-10").exists()
    resume.rotate(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-4"]


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    log = Log(tmp_path)
    for step in range(1, 5):
        log.add({"step": step, "loss": 1.0})
    with log.path.open("a") as file:
        file.write('{"step": 5, "lo')
    assert len(read(log.path)) == 4
    Log(tmp_path, after=2).add({"step": 3, "loss": 2.0})
    assert [(x["step"], x["loss"]) for x in read(log.path)] == [(1, 1.0), (2, 1.0), (3, 2.0)]


def command(world, out, *words, source="base"):
    settings = {**recipe().model_dump(mode="json"), "images": {"position": "random"}}
    keys = ("batch_size", "micro_batch", "precision", "lr", "epochs", "save_every", "max_length")
    changes = [w for key in keys for w in ("--set", f"{key}={settings[key]}")]
    return [sys.executable, "-m", "harness", "train", "finetune", *changes,
            "--set", "images.position=random", "--model", str(world / source),
            "--data", str(world / "d.json"), "--images", str(world / "img"), "--out", str(out),
            *words]  # fmt: skip


def test_a_killed_process_goes_on_where_it_was(world, tmp_path):
    out = tmp_path / "o"
    kill_after_a_checkpoint(launch(command(world, out)), out)
    again = launch(command(world, out, "--resume"))
    said, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert "next: sightline run" in said
    whole = run(world, tmp_path / "whole", keep=2)
    one = load_file(out / "model/model.safetensors")
    for name, tensor in load_file(whole.model / "model.safetensors").items():
        assert torch.equal(tensor, one[name]), name
    assert without_time(read(out / "train_log.jsonl")) == without_time(whole.log)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_processes_train_as_one_does(world, tmp_path, parallel):
    changes = {
        "max_steps": 3,
        "optimizer": "sgd",
        "lr": 1e-3,
        "parallel": parallel,
        "save_every": 0,
    }
    words = [w for key, value in changes.items() for w in ("--set", f"{key}={value}")]
    process = launch(command(world, tmp_path / "two", *words, "--devices", "2", source="plain"))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    one = run(world, tmp_path / "one", source="plain", **changes)
    first = load_file(one.model / "model.safetensors")
    second = load_file(tmp_path / "two/model/model.safetensors")
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=1e-5)
    losses = [
        [x["loss"] for x in read(p / "train_log.jsonl")]
        for p in (tmp_path / "one", tmp_path / "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    counts = [[(x["samples"], x["tokens"]) for x in read(p / "train_log.jsonl")]
              for p in (tmp_path / "one", tmp_path / "two")]  # fmt: skip
    assert counts[0] == counts[1]
    assert not json.loads((tmp_path / "two/run.json").read_text())["manifest"]["undeclared_changes"]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_processes_go_on_as_if_never_interrupted(world, tmp_path, parallel):
    out = tmp_path / "o"
    words = ["--set", "max_steps=4", "--set", "save_every=2", "--set", f"parallel={parallel}"]
    words = command(world, out, *words, "--devices", "2")
    process = launch(words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    whole = load_file(out / "model/model.safetensors")
    lines = without_time(read(out / "train_log.jsonl"))
    run = json.loads((out / "run.json").read_text())  # as it was when it began
    checksums = {n: one["before"] for n, one in run.pop("manifest")["tensors"].items()}
    (out / "run.json").write_text(json.dumps({**run, "status": "running", "checksums": checksums}))
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoint-4")
    process = launch([*words, "--resume"])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    for name, tensor in load_file(out / "model/model.safetensors").items():
        assert torch.equal(tensor, whole[name]), name
    assert without_time(read(out / "train_log.jsonl")) == lines
