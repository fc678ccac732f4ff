"""Muon beside AdamW in one optimizer: each part steps as torch's own, and resumes."""

import copy

import pytest
import torch

from harness.errors import UsageError
from trainers.engine.muon import FASTER, MuonAdamW, inner
from trainers.recipe import find


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 4)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        seen = self.embed(ids)
        for layer in self.layers:
            seen = torch.tanh(layer(seen))
        return seen.sum()


class Wrapped(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Small()


@pytest.fixture
def model() -> Wrapped:
    torch.manual_seed(0)
    return Wrapped()


def steps(model: Wrapped, optimizers: list[torch.optim.Optimizer], count: int) -> None:
    for place in range(count):
        model.zero_grad()
        model.model(torch.tensor([place % 7, 3])).backward()
        for optimizer in optimizers:
            optimizer.step()


def test_either_part_steps_as_torchs_own_optimizer(model):
    other = copy.deepcopy(model)
    groups = [{"params": list(model.parameters()), "lr": 0.01, "weight_decay": 0.1}]
    steps(model, [MuonAdamW(groups, inner(model), lr=0.5)], 4)
    matrices = [layer.weight for layer in other.model.layers]
    rest = [other.model.embed.weight, *(layer.bias for layer in other.model.layers)]
    muon = torch.optim.Muon(matrices, lr=0.01 * FASTER, weight_decay=0.1)
    adamw = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1)
    steps(other, [muon, adamw], 4)
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def test_its_state_goes_on_where_it_was(model):
    def made(of: Wrapped) -> MuonAdamW:
        return MuonAdamW([{"params": list(of.parameters())}], inner(of), lr=0.01)

    first = made(model)
    steps(model, [first], 3)
    later = copy.deepcopy(model)
    second = made(later)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(model, [first], 3)
    steps(later, [second], 3)
    for mine, theirs in zip(model.parameters(), later.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_embeddings_are_not_among_the_matrices(model):
    assert [tuple(w.shape) for w in inner(model)] == [(6, 4), (3, 6)]


@pytest.mark.parametrize("parallel", ["fsdp2", "zero2"])
def test_sharded_matrices_are_refused(parallel):
    with pytest.raises(UsageError, match=r"muon.*whole matrices"):
        find("finetune/full", {"optimizer": "muon", "parallel": parallel})
