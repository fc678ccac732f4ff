"""Objectives on made-up numbers, for tests of the engine: a contrastive one and a plain one."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trainers.engine.contrast import contrast, gathered
from trainers.recipe import Part, check


class Options(Part):
    items: int = 40
    dropout: float = 0.0
    cheat: bool = False
    broken: int = -1


class Towers(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.left = nn.Sequential(
            nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 4)
        )
        self.right = nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("seen", torch.zeros(()))
        self.spare = nn.Parameter(torch.ones(3))


class Toy:
    """Vectors and noisy copies of them; the left tower and the scale train."""

    def __init__(self, recipe, data):
        self.recipe = recipe
        self.options = check(Options, dict(recipe.options), "options of toy")
        self.text = Path(data).read_text()
        torch.manual_seed(3)
        self.model = Towers(self.options.dropout)
        names = [
            n for n, _ in self.model.named_parameters() if not n.startswith(("right", "spare"))
        ]
        self.members = {name: "scale" if name == "scale" else "base" for name in [*names, "seen"]}
        self.steps = 0

    def __len__(self):
        return self.options.items

    def ids(self):
        return [f"item {i}" for i in range(len(self))]

    def read(self, place, epoch):
        if place == self.options.broken:
            raise ValueError("broken item")
        draw = np.random.default_rng(int(sha256(f"{place} {epoch}".encode()).hexdigest()[:8], 16))
        fixed = np.random.default_rng(place).standard_normal(6)
        noisy = fixed + 0.1 * draw.standard_normal(6)
        return torch.tensor(np.stack([fixed, noisy]), dtype=torch.float32)

    def collate(self, items):
        return {"pairs": torch.stack(items)}

    def features(self, model, batch):
        left, right = model.left(batch["pairs"][:, 1]), model.right(batch["pairs"][:, 0])
        return {
            "left": functional.normalize(left.float(), dim=1),
            "right": functional.normalize(right.float(), dim=1),
        }

    def loss_of(self, model, features):
        left, right = gathered(features["left"]), gathered(features["right"])
        loss = contrast(left, right, model.scale.exp())
        return loss, {"cosine": float((left * right).sum(1).mean().detach())}

    def loss(self, model, batch):
        return self.loss_of(model, self.features(model, batch))

    def after_step(self):
        self.steps += 1
        with torch.no_grad():
            self.model.seen += 1
            self.model.scale.clamp_(max=2.01)
            if self.options.cheat:
                self.model.spare += 1

    def watched(self):
        return {"scale": float(self.model.scale.detach())}

    def pictures(self):
        yield "item 0", self.text.encode()

    def export(self, folder):
        torch.save(self.model.state_dict(), folder / "weights.pt")
        (folder / "config.json").write_text("{}")

    def describe(self):
        return {"text": self.text, "parts": {"items": len(self)}}


class Plain:
    """The same model and items, with a loss that is a mean over items."""

    def __init__(self, toy):
        self._toy = toy
        for name in ("model", "members", "ids", "read", "collate", "after_step", "export",
                     "describe", "options"):  # fmt: skip
            setattr(self, name, getattr(toy, name))

    def __len__(self):
        return len(self._toy)

    def loss(self, model, batch):
        wanted = batch["pairs"][:, 0, :4] * model.scale
        loss = ((model.left(batch["pairs"][:, 1]) - wanted) ** 2).mean()
        return loss, {"mse": float(loss.detach())}


def make(recipe, model, data, images):
    return Toy(recipe, data)


def plain(recipe, model, data, images):
    return Plain(Toy(recipe, data))
