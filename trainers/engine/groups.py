"""What trains, and at which rate: from the recipe's patterns to parameters and optimizer groups.

The declared set is computed once, from names; `requires_grad`, the optimizer's groups and the
manifest are all checked against it. Biases and norms never decay. May import torch at the top.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.errors import DataError
from trainers.recipe import Recipe

BASE = "base"
"""Name of the group that has the recipe's own rate."""
PICTURED = re.compile(r"vision|projector|image_newline|mm_|visual")
"""Parameters that only a picture reaches."""


@dataclass(frozen=True)
class Member:
    """One trained parameter."""

    name: str
    group: str
    lr: float
    weight_decay: float


def clean(name: str) -> str:
    """Return the name of a parameter without what wrappers put into it."""
    for added in ("_orig_mod.", "_fsdp_wrapped_module.", "module.", "_checkpoint_wrapped_module."):
        name = name.removeprefix(added).replace(f".{added}", ".")
    return name


def declare(model: torch.nn.Module, recipe: Recipe) -> dict[str, Member]:
    """Return what `recipe` trains of `model`, by name, and set `requires_grad` accordingly.

    With adapters (LoRA already in place) they are what trains, besides what peft marked itself.

    Raises:
        DataError: A pattern matches nothing, so that something else would be trained than was
            meant.
    """
    names = [name for name, _ in model.named_parameters()]
    if recipe.lora is None:
        chosen = _matching(names, recipe.trainable, "trainable")
        chosen -= _matching(names, recipe.frozen, "frozen")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
    else:
        chosen = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not chosen:
        raise DataError("nothing would be trained: all that `trainable` names is `frozen`")
    norms = _norms(model)
    members = {}
    for name in (name for name in names if name in chosen):
        group = next((g for g in recipe.groups if re.search(g.pattern, name)), None)
        decay = group.weight_decay if group and group.weight_decay is not None else None
        decay = recipe.weight_decay if decay is None else decay
        plain = name.endswith("bias") or name.rpartition(".")[0] in norms
        rate = group.lr if group else recipe.lr
        members[name] = Member(name, group.name if group else BASE, rate, 0.0 if plain else decay)
    used = {member.group for member in members.values()}
    for group in recipe.groups:
        if group.name not in used:
            raise DataError(
                f"the group '{group.name}' ({group.pattern}) has no parameter that is trained; "
                f"trained are: {_some(members)}"
            )
    return members


def optimizer_groups(model: torch.nn.Module, members: Mapping[str, Member]) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer, one per rate and decay, with their `name`."""
    out: dict[tuple[str, float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        member = members.get(clean(name))
        if member is None:
            continue
        key = (member.group, member.lr, member.weight_decay)
        group = out.setdefault(
            key,
            {"params": [], "lr": member.lr, "weight_decay": member.weight_decay,
             "name": member.group, "names": []},
        )  # fmt: skip
        group["params"].append(parameter)
        group["names"].append(clean(name))
    return list(out.values())


def check(groups: Sequence[Mapping[str, Any]], members: Mapping[str, Member]) -> None:
    """Raise DataError unless an optimizer's `groups` hold the declared parameters, each once."""
    held = [name for group in groups for name in group["names"]]
    missing, extra = set(members) - set(held), set(held) - set(members)
    if missing or extra or len(held) != len(set(held)):
        raise DataError(
            "the optimizer does not hold the declared parameters: "
            f"missing {_some(missing)}; not declared {_some(extra)}"
        )


def pictured(members: Iterable[str]) -> bool:
    """Return whether something is trained that only a picture reaches."""
    return any(PICTURED.search(name) for name in members)


def without_gradient(model: torch.nn.Module, members: Mapping[str, Member]) -> list[str]:
    """Return declared parameters that the backward pass did not reach."""
    return [
        clean(name)
        for name, parameter in model.named_parameters()
        if clean(name) in members and parameter.grad is None
    ]


def refuse_unreached(names: Sequence[str]) -> None:
    """Raise DataError naming parameters that no gradient reaches, if there are any."""
    if names:
        raise DataError(
            f"{len(names)} parameters are declared trainable and no gradient reaches them: "
            f"{_some(names)}. Name them in `frozen` (of a CLIP tower read at its last layer "
            "but one, that is its last layer and post_layernorm)"
        )


def _matching(names: Sequence[str], patterns: Iterable[str], what: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if re.fullmatch(pattern, name)}
        if not matched:
            raise DataError(
                f"`{what}: {pattern}` matches no parameter of this model; it has: {_parts(names)}"
            )
        found |= matched
    return found


def _norms(model: torch.nn.Module) -> set[str]:
    """Return names of normalisation modules: their weights scale and do not decay."""
    return {
        name for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm)
        or type(module).__name__.lower().endswith(("norm", "norm1d"))
    }  # fmt: skip


def _parts(names: Iterable[str]) -> str:
    heads = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(heads)


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return (", ".join(found[:4]) or "none") + more
