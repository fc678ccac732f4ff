"""REACT's customised CLIP: gated blocks before the last layers, and which weights each mode trains.

Liu (dissertation, chapter 2; arXiv 2301.07094), section 2.3, and microsoft/react. A block is an
encoder layer of its own whose two residual branches are scaled by tanh of a scalar each; both
scalars start at 0, so the customised model is the base, bit for bit, at its first step. Afterwards
the scalars are multiplied into the branches' last maps: the block then is a plain encoder layer
and the whole a plain `CLIPModel` with more layers. May import torch and transformers at the top.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from harness.errors import UsageError, unknown

MODES = {
    "locked-text-gated-image": ("image",),
    "locked-text": (),
    "locked-image": (),
    "full": (),
    "gated-text": ("text",),
    "gated-both": ("image", "text"),
}
"""Mode to the towers that get gated blocks (dissertation, table 2.6)."""
DEFAULT = "locked-text-gated-image"
MOST_SCALE = 100.0
"""The factor on similarities never exceeds this, as in CLIP's own training."""


class Gated(nn.Module):  # type: ignore[misc]
    """A gated block and the layer of the base that it stands before."""

    def __init__(self, config: Any, base: nn.Module) -> None:
        """Make a block of the base's sizes with the framework's default initialisation."""
        super().__init__()
        self.block = CLIPEncoderLayer(config)
        self.attention_gate = nn.Parameter(torch.zeros(()))
        self.mlp_gate = nn.Parameter(torch.zeros(()))
        self.base = base

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, **options: Any) -> Tensor:
        """Add both branches, scaled, then go through the base's layer."""
        block = self.block
        seen = block.layer_norm1(hidden_states)
        seen, _ = block.self_attn(hidden_states=seen, attention_mask=attention_mask, **options)
        hidden_states = hidden_states + torch.tanh(self.attention_gate) * seen
        seen = block.mlp(block.layer_norm2(hidden_states))
        hidden_states = hidden_states + torch.tanh(self.mlp_gate) * seen
        shown: Tensor = self.base(hidden_states, attention_mask, **options)
        return shown

    def folded(self) -> nn.Module:
        """Return the block as a plain encoder layer: the gates are in its weights."""
        layer = deepcopy(self.block)
        with torch.no_grad():
            for last, gate in (
                (layer.self_attn.out_proj, self.attention_gate),
                (layer.mlp.fc2, self.mlp_gate),
            ):
                last.weight.mul_(torch.tanh(gate))
                last.bias.mul_(torch.tanh(gate))
        return layer


def customise(model: CLIPModel, mode: str = DEFAULT, last: int = 6) -> CLIPModel:
    """Put gated blocks before the `last` layers of the towers of `mode`, and set what is trained.

    The model is changed in place and returned. Its features stay what they were, bit for bit.

    Args:
        model: A CLIP without gated blocks.
        mode: One of MODES.
        last: Blocks of a tower: 6 for B/32, B/16 and L/14, 12 for bigG.

    Raises:
        UsageError: An unknown mode, more blocks than layers, or a model that has blocks.
    """
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    for name in MODES[mode]:
        tower = _tower(model, name)
        layers = tower.encoder.layers
        if not 1 <= last <= len(layers):
            raise UsageError(f"the {name} tower has {len(layers)} layers, not {last} to gate")
        if any(isinstance(layer, Gated) for layer in layers):
            raise UsageError(f"the {name} tower has gated blocks already")
        for place in range(len(layers) - last, len(layers)):
            base = layers[place]
            weight = base.layer_norm1.weight
            gated = Gated(tower.encoder.config, base)
            layers[place] = gated.to(device=weight.device, dtype=weight.dtype)
    allowed = set(trainable(model, mode))
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in allowed)
    return model


def trainable(model: CLIPModel, mode: str) -> list[str]:
    """Return the names of the weights that `mode` trains; the scale of similarities always is.

    The released code never freezes the scale, also where a tower is locked.
    """
    wanted = []
    for name, _ in model.named_parameters():
        tower = "text" if name.startswith(("text_model.", "text_projection.")) else "image"
        gates = ".block." in name or name.endswith("_gate")
        chosen = {
            "locked-text": tower == "image",
            "locked-image": tower == "text",
            "full": True,
        }.get(mode, gates)
        if chosen or name == "logit_scale":
            wanted.append(name)
    return wanted


def fold(model: CLIPModel) -> CLIPModel:
    """Return a plain CLIPModel with the same features: every gated block is one more layer."""
    config = deepcopy(model.config)
    state: dict[str, Tensor] = {}
    for name, part in (("text", config.text_config), ("image", config.vision_config)):
        layers = list(_plain(_tower(model, name).encoder.layers))
        part.num_hidden_layers = len(layers)
        prefix = "text_model" if name == "text" else "vision_model"
        for place, layer in enumerate(layers):
            for key, tensor in layer.state_dict().items():
                state[f"{prefix}.encoder.layers.{place}.{key}"] = tensor
    for key, tensor in model.state_dict().items():
        if ".encoder.layers." not in key:
            state[key] = tensor
    plain = CLIPModel(config).to(model.dtype)
    plain.load_state_dict(state)
    return plain.eval()


def clamp(model: CLIPModel) -> None:
    """Keep the logarithm of the scale between 0 and ln 100, after every step."""
    with torch.no_grad():
        model.logit_scale.clamp_(0.0, float(torch.tensor(MOST_SCALE).log()))


def gates(model: CLIPModel) -> dict[str, float]:
    """Return tanh of every gate, by name: how much each block adds."""
    return {
        name: float(torch.tanh(weight.detach()))
        for name, weight in model.named_parameters()
        if name.endswith("_gate")
    }


def _tower(model: CLIPModel, name: str) -> Any:
    return model.text_model if name == "text" else model.vision_model


def _plain(layers: Any) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, Gated):
            yield layer.folded()
            yield layer.base
        else:
            yield layer
