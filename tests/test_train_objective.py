"""Objectives through the engine: resume, accumulation, several processes, what changed, errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_objective import Toy

from harness.errors import DataError, RunStopped, UsageError
from trainers.engine.log import read
from trainers.engine.objective_loop import declare, forecast, train
from trainers.engine.objective_plan import ObjectivePlan, Shares
from trainers.recipe import ObjectiveRecipe, check

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent


def recipe(**changes):
    base = {"name": "toy/one", "objective": "toy_objective:make", "batch_size": 8, "micro_batch": 8,
            "epochs": 2, "lr": 1e-2, "precision": "fp32", "save_every": 3, "warmup": 2,
            "weight_decay": 0.1}  # fmt: skip
    return check(ObjectiveRecipe, base, "toy").changed(changes)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("toy data")
    return path


def run(data, out, resumed=False, **changes):
    return train(recipe(**changes), None, data, out, resumed=resumed, quiet=True)


def weights(result):
    return torch.load(result.model / "weights.pt")


def timeless(lines):
    return [{k: v for k, v in x.items() if k not in ("seconds", "samples_per_s")} for x in lines]


def assert_same(one, two):
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(two)[name]), name
    assert timeless(one.log) == timeless(two.log)


class Crash(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize(
    "changes",
    [
        {"options.dropout": 0.3},
        {"options.dropout": 0.3, "micro_batch": 3},
        {"options.dropout": 0.3, "micro_batch": 3, "objective": "toy_objective:plain",
         "trainable": ["left.*", "scale"], "precision": "bf16"},
    ],
    ids=["whole", "two passes", "accumulated"],
)  # fmt: skip
def test_a_run_that_goes_on_is_the_run_never_interrupted(data, tmp_path, monkeypatch, changes):
    import toy_objective

    whole = run(data, tmp_path / "whole", **changes)
    assert whole.run["status"] == "complete" and whole.steps == 10
    with monkeypatch.context() as patch:
        after = toy_objective.Toy.after_step

        def failing(self):
            after(self)
            if self.steps == 8:
                raise Crash

        patch.setattr(toy_objective.Toy, "after_step", failing)
        with pytest.raises(Crash):
            run(data, tmp_path / "cut", **changes)
    assert json.loads((tmp_path / "cut/run.json").read_text())["status"] == "stopped"
    assert_same(whole, run(data, tmp_path / "cut", resumed=True, **changes))
    with pytest.raises(UsageError, match="is complete"):
        run(data, tmp_path / "cut", resumed=True, **changes)


def test_accumulation_does_not_change_the_negatives(data, tmp_path):
    """One pass over 8 items, and pieces of 3, 3 and 2, give one gradient; plain pieces do not."""
    common = {"max_steps": 4, "optimizer": "sgd", "save_every": 0}
    whole = run(data, tmp_path / "whole", **common)
    cut = run(data, tmp_path / "cut", micro_batch=3, **common)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(cut)[name], rtol=0, atol=1e-6)
    for one, two in zip(whole.log, cut.log, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["parts"]["cosine"] == pytest.approx(two["parts"]["cosine"], rel=1e-4)
    alone = run(data, tmp_path / "alone", batch_size=3, **common)
    assert abs(alone.log[0]["loss"] - whole.log[0]["loss"]) > 1e-2


def test_a_mean_over_items_accumulates_exactly(data, tmp_path):
    common = {"objective": "toy_objective:plain", "max_steps": 3, "optimizer": "sgd"}
    whole = run(data, tmp_path / "whole", **common)
    cut = run(data, tmp_path / "cut", micro_batch=3, **common)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(cut)[name], rtol=0, atol=1e-6)
    assert [x["parts"]["mse"] for x in cut.log] == pytest.approx([x["loss"] for x in cut.log])


def test_one_step_is_the_optimizers_formula(data, tmp_path):
    """A step of SGD by hand: the declared weights move by rate times gradient, and decay."""
    made = recipe(max_steps=1, optimizer="sgd", warmup=0, schedule="constant", max_grad_norm=0,
                  groups=[{"name": "scale", "pattern": "^$", "lr": 0.5}], save_every=0)  # fmt: skip
    toy = Toy(made, data)
    places = ObjectivePlan(made, 40).epoch(0)[0]
    loss, _ = toy.loss(toy.model, toy.collate([toy.read(p, 0) for p in places]))
    loss.backward()
    expected = {}
    for name, weight in toy.model.named_parameters():
        old, felt = weight.detach(), weight.grad
        if name == "scale":
            expected[name] = (old - 0.5 * felt).clamp(max=2.01)  # no decay, a rate of its own
        elif name.startswith("left") and weight.ndim > 1:
            expected[name] = old - 0.01 * (felt + 0.1 * old)
        else:
            expected[name] = old - 0.01 * felt if name.startswith("left") else old
    found = weights(train(made, None, data, tmp_path / "o", quiet=True))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


def test_the_folder_says_what_happened(data, tmp_path):
    result = run(data, tmp_path / "o", log_every=2, **{"options.dropout": 0.1})
    manifest = result.run["manifest"]
    assert manifest["undeclared_changes"] == manifest["declared_unchanged"] == []
    assert {n for n, t in manifest["tensors"].items() if t["declared"]} == {
        "left.0.weight", "left.0.bias", "left.3.weight", "left.3.bias", "scale", "seen"
    }  # fmt: skip
    line = result.log[-1]
    assert line["samples"] == 80 and line["epoch"] == 2.0 and line["state"] == {
        "scale": pytest.approx(float(weights(result)["scale"]))
    }  # fmt: skip
    assert set(line["lr"]) == {"base"} and line["parts"]["cosine"] != 0
    card = (result.model / "README.md").read_text()
    assert "toy_objective:make" in card and "parts.items: 40" in card and "dropout 0.1" in card
    assert sorted(p.name for p in (tmp_path / "o").glob("checkpoint-*")) == [
        "checkpoint-10", "checkpoint-9"
    ]  # fmt: skip
    assert json.loads((tmp_path / "o/run.json").read_text())["data"]["text"] == "toy data"


def test_what_moves_must_be_declared(data, tmp_path):
    with pytest.raises(RunStopped, match="spare"):
        run(data, tmp_path / "o", **{"options.cheat": True})


def test_other_data_model_or_recipe_do_not_go_on(data, tmp_path, monkeypatch):
    import toy_objective

    with monkeypatch.context() as patch:
        patch.setattr(toy_objective.Toy, "watched", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(data, tmp_path / "o")
    with pytest.raises(UsageError, match=r"lr: 0\.01 before"):
        run(data, tmp_path / "o", resumed=True, lr=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(toy_objective.Toy, "ids", lambda self: ["x"] * 40)
        with pytest.raises(UsageError, match="the items are not those"):
            run(data, tmp_path / "o", resumed=True)
    made = toy_objective.Towers.__init__

    def other(self, dropout):
        made(self, dropout)
        torch.nn.init.zeros_(self.right.weight)

    with monkeypatch.context() as patch:
        patch.setattr(toy_objective.Towers, "__init__", other)
        with pytest.raises(UsageError, match="not the model that the run began with"):
            run(data, tmp_path / "o", resumed=True)
    data.write_text("other data")
    with pytest.raises(UsageError, match="files of records are not those"):
        run(data, tmp_path / "o", resumed=True)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"objective": "toy_objective:mak"}, UsageError, "toy_objective:mak"),
        ({"objective": "no_such_module:make"}, UsageError, "no_such_module"),
        ({"objective": "toy_objective"}, UsageError, "pattern"),
        ({"options.droput": 1}, UsageError, "did you mean dropout"),
        ({"parallel": "fsdp2"}, UsageError, "ddp"),
        ({"precision": "bf16_pure"}, UsageError, "float32"),
        ({"batch_size": 64}, UsageError, "batch_size=40"),
        ({"trainable": ["right.*"]}, DataError, "matches nothing that the objective trains"),
        ({"frozen": [".*"]}, DataError, "nothing would be trained"),
        ({"groups": [{"name": "x", "pattern": "right", "lr": 1}]}, DataError, "group 'x'"),
        ({"template": "v1"}, UsageError, "no key of a recipe 'template'"),
        ({"options.broken": 3}, ValueError, "broken item"),
    ],
)
def test_what_does_not_fit_is_said(data, tmp_path, changes, kind, said):
    with pytest.raises(kind, match=said):
        run(data, tmp_path / "o", **changes)


def test_missing_data_are_named(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        run(tmp_path / "none", tmp_path / "o")


def test_pictures_of_held_out_tasks_are_looked_for(data, tmp_path, monkeypatch):
    from hashlib import sha256

    from trainers.engine import leak

    known = {len(b"toy data"): {sha256(b"toy data").hexdigest(): "pope 7.jpg"}}
    monkeypatch.setattr(leak, "evaluated", lambda tasks: known)
    with pytest.raises(DataError, match=r"item 0 is pope 7\.jpg"):
        run(data, tmp_path / "o", hold_out=["pope=x"])
    with pytest.raises(UsageError, match="cannot show its pictures"):
        run(data, tmp_path / "p", hold_out=["pope=x"], objective="toy_objective:plain")
    known.clear()
    result = run(data, tmp_path / "q", hold_out=["pope=x"], max_steps=1)
    assert result.run["kept_out"] == ["pope"]


def test_a_loss_that_is_not_finite_ends_the_run(data, tmp_path):
    with pytest.raises(RunStopped, match="the loss is"):
        run(data, tmp_path / "o", lr=1e30, optimizer="sgd", objective="toy_objective:plain",
            max_grad_norm=0)  # fmt: skip


def test_parts_of_a_step_are_the_same_on_any_number_of_devices():
    made = recipe(batch_size=12, micro_batch=2)
    alone = list(Shares(ObjectivePlan(made, 40), 0))
    plan = ObjectivePlan(made, 40, 3)
    shares = zip(*(Shares(plan, rank) for rank in range(3)), strict=True)
    together = [[*one, *two, *three] for one, two, three in shares]
    assert alone == together and len(alone) == len(Shares(plan, 1)) == 6
    places = [place for step in alone[:3] for _, place in step]
    assert len(set(places)) == 36 and alone[0] != alone[3]
    assert [len(x) for x in plan.cut(list(range(4)))] == [2, 2]
    with pytest.raises(UsageError, match="dealt evenly to 5"):
        ObjectivePlan(made, 40, 5)


def test_a_forecast_says_steps_items_and_memory(data):
    said = "\n".join(forecast(recipe(micro_batch=3), None, data, None, 1))
    assert "steps    10 of 8 items: 3 forward passes of 3" in said and "made twice" in said
    trained = 6 * 16 + 16 + 16 * 4 + 4 + 1
    assert f"of which {trained} train" in said and "items    40" in said and "GiB" in said


def test_groups_by_pattern_win_over_the_objectives_own(data):
    made = recipe(groups=[{"name": "first", "pattern": r"left\.0", "lr": 1.0, "weight_decay": 0.3},
                          {"name": "scale", "pattern": "^$", "lr": 2.0}])  # fmt: skip
    members = declare(Toy(made, data), made)
    assert members["left.0.weight"].lr == 1.0 and members["left.0.weight"].weight_decay == 0.3
    assert members["left.0.bias"].weight_decay == 0.0 and members["scale"].lr == 2.0
    assert members["left.3.weight"].group == "base"


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_train_objective import recipe, run
run(Path({data!r}), Path({out!r}), **{changes!r})
print("left in peace")
"""


@pytest.mark.parametrize("kind", ["make", "plain"])
def test_two_processes_train_as_one_does(data, tmp_path, kind):
    changes = {"max_steps": 3, "optimizer": "sgd", "micro_batch": 2, "save_every": 2,
               "objective": f"toy_objective:{kind}"}  # fmt: skip
    one = run(data, tmp_path / "one", **changes)
    tests = str(Path(__file__).resolve().parent)
    script = tmp_path / "two.py"
    out = tmp_path / "two"
    script.write_text(SCRIPT.format(tests=tests, data=str(data), out=str(out), changes=changes))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, timeout=240, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("left in peace") == 2
    two = torch.load(out / "model/weights.pt")
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, two[name], rtol=0, atol=1e-6)
    for a, b in zip(one.log, read(out / "train_log.jsonl"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5) and a["samples"] == b["samples"]
        assert a["parts"] == pytest.approx(b["parts"], rel=1e-4)
    assert (out / "checkpoint-2/rng_state_1.pth").is_file()


def test_checkpoints_are_exported_for_benchmarks_and_nothing_else_changes(
    data, tmp_path, monkeypatch
):
    from trainers.engine import leak, runs

    seen = []

    def told(recipe, folder, out, step, base):
        seen.append((folder.name, step, (folder / "weights.pt").is_file()))
        yield {"step": step, "eval": {"task": "pope", "metric": "f1", "value": 50.0, "n": 3}}

    monkeypatch.setattr(runs.evaluate, "run", told)
    monkeypatch.setattr(leak, "evaluated", lambda tasks: {})
    changes = {"options.dropout": 0.2, "micro_batch": 3}
    result = run(data, tmp_path / "o", evaluate=[{"task": "pope"}], **changes)
    steps = [("checkpoint-3", 3), ("checkpoint-6", 6), ("checkpoint-9", 9), ("model", 10)]
    assert seen == [(*step, True) for step in steps]
    assert not (tmp_path / "o/exported").exists()
    assert "| 6 | pope | f1 | 50.0 |" in (result.model / "README.md").read_text()
    without = run(data, tmp_path / "p", **changes)
    for name, tensor in weights(without).items():
        assert torch.equal(tensor, weights(result)[name]), name


def test_the_cosine_can_end_above_zero(data, tmp_path):
    rates = [x["lr"]["base"] for x in run(data, tmp_path / "o", min_lr=4e-3, warmup=0).log]
    assert rates[0] == pytest.approx(1e-2) and rates == sorted(rates, reverse=True)
    assert 4e-3 < rates[-1] < 4.3e-3
