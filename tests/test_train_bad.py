"""Bad input is named, counted, refused or left out by a stated policy; never silently used."""

import json

import pytest
import torch
from small_data import write_pope
from tiny_models import make_llama, make_llava
from train_data import make_records, write_pictures, write_records

from harness.cli_train import train as command
from harness.errors import DataError, MissingExtra, RunStopped, UsageError
from trainers.engine import evaluate, samples
from trainers.engine.estimate import Cost, forecast, memory
from trainers.engine.loop import train
from trainers.recipe import Evaluation, find

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    make_llava(root / "base")
    write_pictures(root / "img", 6)
    half = (root / "img/0001.png").read_bytes()
    (root / "img/half.png").write_bytes(half[: len(half) * 2 // 3])
    (root / "img/text.png").write_text("no picture")
    return root


def recipe(**changes):
    common = {"batch_size": 4, "micro_batch": 2, "precision": "fp32", "max_length": 512}
    return find("finetune", common | changes)


def run(world, out, made, data):
    return train(made, world / "base", data, out, images=world / "img", quiet=True)


def spoiled(tmp_path, *names):
    made = make_records([f"{i:04d}.png" for i in range(6)], 16)
    for record, name in zip(made[3:], names, strict=False):
        if name is None:
            record["conversations"] = record["conversations"][:1]
        else:
            record["image"] = name
    return write_records(tmp_path / "d.json", made)


def test_bad_records_end_a_run_that_refuses_them(world, tmp_path):
    data = spoiled(tmp_path, "gone.png", "text.png", None)
    with pytest.raises(DataError) as caught:
        run(world, tmp_path / "o", recipe(), data)
    said = str(caught.value)
    for part in ("3 of 16 records", "image does not open: 1", "image missing: 1", "no target: 1",
                 "d.json:3 (id r3)", "on_bad: skip"):  # fmt: skip
        assert part in said


def test_bad_records_are_left_out_counted_and_told(world, tmp_path):
    data = spoiled(tmp_path, "gone.png", "text.png", None)
    made = recipe(on_bad="skip", bad_cap=0.5)
    result = run(world, tmp_path / "o", made, data)
    assert result.run["index"]["bad"] == {
        "image missing": 1,
        "image does not open": 1,
        "no target": 1,
    }
    assert result.run["samples"] == 13 and result.run["index"]["kept"] == 13
    assert "left out 3" in (result.model / "README.md").read_text()
    with pytest.raises(DataError, match="bad_cap"):
        run(world, tmp_path / "p", recipe(on_bad="skip", bad_cap=0.1), data)


def test_a_picture_that_breaks_off_is_found_when_it_is_read(world, tmp_path):
    data = spoiled(tmp_path, "half.png")
    with pytest.raises(DataError, match=r"half\.png"):
        run(world, tmp_path / "o", recipe(), data)
    result = run(world, tmp_path / "p", recipe(on_bad="skip", bad_cap=0.5), data)
    assert result.run["dropped"] == 1 and result.log[-1]["dropped"] == 1
    told = [line["left_out"] for line in result.log if "left_out" in line]
    assert len(told) == 1 and "half.png" in told[0] and "r3" in told[0]


def test_pictures_that_truncation_would_cut_are_not_trained_on(world, tmp_path):
    data = write_records(tmp_path / "d.json", make_records(["0000.png"], 8, text_only=0.5))
    with pytest.raises(DataError, match="image cut by max_length"):
        run(world, tmp_path / "o", recipe(max_length=40), data)


def test_evaluated_pictures_are_not_trained_on(world, tmp_path):
    pope = write_pope(tmp_path / "pope")
    images = tmp_path / "img"
    write_pictures(images, 3)
    (images / "copied.jpg").write_bytes((pope / "images/scene_0002.jpg").read_bytes())
    made = make_records(["0000.png", "0001.png"], 8)
    data = write_records(tmp_path / "clean.json", made)
    held = recipe(hold_out=[f"pope={pope}"], max_steps=1)
    clean = train(held, world / "base", data, tmp_path / "a", images=images, quiet=True)
    assert clean.run["status"] == "complete" and clean.run["kept_out"] == ["pope"]
    leaky = write_records(tmp_path / "leaky.json", make_records(["copied.jpg"], 8))
    with pytest.raises(DataError, match=r"copied\.jpg of leaky\.json:0 .* is pope .*scene_0002"):
        train(held, world / "base", leaky, tmp_path / "b", images=images, quiet=True)
    assert not list((tmp_path / "b").glob("checkpoint-*"))
    other = write_pope(tmp_path / "other", images=1)
    both = recipe(hold_out=[f"pope={pope}", f"pope={other}"], max_steps=1)
    with pytest.raises(DataError, match=r"copied\.jpg of leaky\.json:0 .* is pope .*scene_0002"):
        train(both, world / "base", leaky, tmp_path / "c", images=images, quiet=True)


def test_a_loss_that_is_no_number_ends_the_run(world, tmp_path):
    data = write_records(tmp_path / "d.json", make_records(["0000.png"], 16))
    with pytest.raises(RunStopped, match="the loss is nan at step"):
        run(world, tmp_path / "o", recipe(lr=1e30, max_grad_norm=0, max_steps=4, warmup=0), data)
    assert json.loads((tmp_path / "o/run.json").read_text())["status"] == "stopped"


def test_a_model_without_pictures_is_refused(world, tmp_path):
    make_llama(tmp_path / "text")
    data = write_records(tmp_path / "d.json", make_records(["0000.png"], 8))
    with pytest.raises(DataError, match="image-text model"):
        train(recipe(), tmp_path / "text", data, tmp_path / "o", quiet=True)


def test_benchmarks_run_on_checkpoints_and_their_failure_is_written_down(world, tmp_path):
    pope = write_pope(tmp_path / "pope")
    data = write_records(tmp_path / "d.json", make_records(["0000.png"], 8))
    checks = [{"task": "pope", "data": str(pope), "limit": 12, "metric": "random.accuracy"},
              {"task": "pope/lmms", "data": str(pope), "options": {"dtype": "float8"}}]  # fmt: skip
    result = run(world, tmp_path / "o", recipe(evaluate=checks, save_every=1), data)
    found = [line for line in result.log if "eval" in line]
    asked = [(x["step"], x["eval"]["task"]) for x in found]
    assert asked == [(step, task) for step in (1, 2) for task in ("pope", "pope/lmms")]
    good, bad = found[2]["eval"], found[3]["eval"]
    assert good["metric"] == "random.accuracy" and 0 <= good["value"] <= 100 and good["n"]
    assert (tmp_path / "o" / good["run"] / "rows.jsonl").is_file()
    assert bad["value"] is None and bad["error"].startswith("exit ")
    card = (result.model / "README.md").read_text()
    assert "| 2 | pope | random.accuracy |" in card and "| 2 | pope/lmms | exit" in card


def test_an_adapter_is_evaluated_on_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    words = evaluate.command(Evaluation(task="pope"), tmp_path, tmp_path / "r", "BASE")
    assert "transformers:BASE" in words and f"adapter={tmp_path}" in words


def test_a_forecast_counts_what_the_run_does(world, tmp_path, capsys):
    data = write_records(tmp_path / "d.json", make_records(["0000.png", "0001.png"], 20))
    made = recipe(a100_hours=7)
    result = run(world, tmp_path / "o", made, data)
    lines = "\n".join(forecast(made, world / "base", data, world / "img", 1))
    assert (
        f"steps    {result.steps} of 4" in lines and f"tokens   {result.run['tokens']:,}" in lines
    )
    assert "published 7 A100 hours" in lines and "assumed" in lines and "GiB" in lines
    command("finetune", None, ["batch_size=4"], str(world / "base"), data, world / "img", None,
            False, True, 1)  # fmt: skip
    assert "steps    5 of 4" in capsys.readouterr().out


def test_arithmetic_is_counted_from_shapes(world):
    from trainers.engine import model

    ready = model.prepare(recipe(trainable=[r".*projector.*"]), world / "base")
    cost = Cost(ready.plain)
    lm = sum(p.numel() for n, p in ready.model.named_parameters()
             if "language_model" in n and p.ndim == 2 and "embed" not in n)  # fmt: skip
    only_text = cost.flops(100, 0, 0, 0)
    assert only_text == pytest.approx(4 * lm * 100)  # forward, and the gradient that flows on
    full = Cost(model.prepare(recipe(), world / "base").plain)
    assert full.flops(100, 0, 0, 0) == pytest.approx(6 * lm * 100)
    assert memory(10, 4, "fp32", 2) == {"weights": 20.0, "gradients_and_optimizer": 24.0}


def test_the_command_says_what_is_missing(tmp_path):
    with pytest.raises(UsageError, match="--data"):
        command("finetune", None, [], None, None, None, None, False, False, 1)
    with pytest.raises(UsageError, match="--resume needs --out"):
        command("finetune", None, [], None, tmp_path, None, None, True, False, 1)


def test_an_empty_batch_has_no_targets_but_tokens(world, tmp_path):
    """A device without a sample at the end of an epoch still takes part."""
    data = write_records(tmp_path / "d.json", make_records(["0000.png"], 5))
    result = run(world, tmp_path / "o", recipe(batch_size=4, micro_batch=1), data)
    assert result.run["samples"] == 5 and result.steps == 2
    assert samples.IGNORED == -100


def test_missing_trackers_name_the_command(world, tmp_path):
    with pytest.raises(MissingExtra, match="pip install trackio"):
        run(world, tmp_path / "o", recipe(report_to=["trackio"]), tmp_path / "none.json")
