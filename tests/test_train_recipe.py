"""Recipes: typed, complete, near names for wrong keys; and how the command line changes them."""

import pytest

from harness.cli_train import _changes, _without
from harness.errors import UsageError
from trainers.recipe import Recipe, find, names


def base():
    return Recipe.model_validate({"name": "r", "groups": [{"name": "p", "pattern": "x", "lr": 1}]})


def test_inner_keys_change_alone():
    changed = base().changed({"images": {"size": 336}, "lora.r": 8, "builder_options.vision": "V"})
    assert (changed.images.size, changed.images.position) == (336, "first")
    assert changed.lora and (changed.lora.r, changed.lora.alpha) == (8, 256)
    assert changed.builder_options == {"vision": "V"} and changed.groups == base().groups


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 1}, "there is no key of a recipe 'learning_rate'"),
        ({"epoch": 1}, "did you mean epochs"),
        ({"images.sise": 1}, "images.size"),
        ({"lora.rank": 1}, "lora"),
        ({"groups": [{"name": "a", "patern": "b", "lr": 1}]}, "did you mean pattern"),
        ({"lr": -1}, "greater than 0"),
        ({"lr": "fast"}, "lr"),
        ({"template": "v2"}, "template"),
        ({"trainable": ["("]}, "no regular expression"),
        ({"trainable": []}, "nothing would be trained"),
        ({"header_loss": True}, "v0"),
        ({"data": [{"name": "a"}], "mixture": "m"}, "exclude each other"),
        ({"groups": [{"name": "a", "pattern": "b", "lr": 1}] * 2}, "same name"),
    ],
)
def test_what_does_not_fit_is_said(change, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        base().changed(change)


def test_a_recipe_survives_json():
    assert Recipe.model_validate_json(base().model_dump_json()) == base()


def test_every_recipe_of_the_folder_can_be_made():
    found = names()
    assert "finetune" in found and "recipe" not in found
    for stem, variants in found.items():
        for variant in variants:
            assert find(f"{stem}/{variant}").name.startswith(stem)


def test_unknown_recipes_and_variants_name_near_ones():
    with pytest.raises(UsageError, match="did you mean finetune"):
        find("finetun")
    with pytest.raises(UsageError, match="variant of finetune 'lara'; did you mean lora"):
        find("finetune/lara")


def test_the_command_line_wins_over_the_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("lr: 2e-4\nbatch_size: 4\nimages: {size: 28}\n")
    found = _changes(file, ["lr=1e-3", "trainable=[a, b]", "report_to=[]", "packing=true"])
    assert found == {"lr": 1e-3, "batch_size": 4, "images": {"size": 28}, "trainable": ["a", "b"],
                     "report_to": [], "packing": True}  # fmt: skip
    assert find("finetune", found | {"trainable": [".*"]}).images.size == 28


def test_bad_changes_are_named(tmp_path):
    with pytest.raises(UsageError, match="KEY=VALUE"):
        _changes(None, ["lr"])
    with pytest.raises(UsageError, match="--config"):
        _changes(tmp_path / "none.yaml", [])


def test_spawned_processes_get_the_same_command():
    words = ["train", "r", "--devices", "2", "--out=o", "--set", "devices=3", "--devices=2"]
    assert _without(_without(words, "--devices"), "--out") == ["train", "r", "--set", "devices=3"]
