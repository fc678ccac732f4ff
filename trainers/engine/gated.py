"""REACT's customised CLIP: gated blocks before the last layers, and which weights each mode trains.

Liu (dissertation, chapter 2; arXiv 2301.07094), section 2.3, and microsoft/react. A block is an
encoder layer of its own whose two residual branches are scaled by tanh of a scalar each; both
scalars start at 0, so the customised model is the base, bit for bit, at its first step. Afterwards
the scalars are multiplied into the branches' last maps: the block then is a plain encoder layer
and the whole a plain `CLIPModel` (or `SiglipModel`) with more layers. May import torch and
transformers at the top.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

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
SCALE = ("logit_scale", "logit_bias")
MOST_SCALE = 100.0
"""The factor on similarities never exceeds this, as in CLIP's own training."""
_Model = TypeVar("_Model", bound=Any)


class Block(GradientCheckpointingLayer):  # type: ignore[misc]
    """A gated block: an encoder layer whose two branches are scaled by tanh of a scalar each."""

    def __init__(self, config: Any, kind: type[nn.Module]) -> None:
        """Make a block of a tower's sizes, initialised as the released code's.

        Its hidden units are four times the width, as in the released code, also where the tower has
        more (bigG: 4.92 times).
        """
        super().__init__()
        sizes = deepcopy(config)
        sizes.intermediate_size = min(config.intermediate_size, 4 * config.hidden_size)
        self.layer = kind(sizes)
        self.attention_gate = nn.Parameter(torch.zeros(()))
        self.mlp_gate = nn.Parameter(torch.zeros(()))
        attention = self.layer.self_attn
        for part in (attention.q_proj, attention.k_proj, attention.v_proj):
            # There the three are one matrix of 3 x width rows, and Glorot's bound is of that.
            bound = (6 / (4 * config.hidden_size)) ** 0.5
            nn.init.uniform_(part.weight, -bound, bound)
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            nn.init.zeros_(part.bias)

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, **options: Any) -> Tensor:
        """Add both branches, scaled."""
        layer = self.layer
        seen = layer.layer_norm1(hidden_states)
        seen, _ = layer.self_attn(hidden_states=seen, attention_mask=attention_mask, **options)
        hidden_states = hidden_states + torch.tanh(self.attention_gate) * seen
        seen = layer.mlp(layer.layer_norm2(hidden_states))
        return hidden_states + torch.tanh(self.mlp_gate) * seen

    def folded(self, units: int) -> dict[str, Tensor]:
        """Return the tensors of a plain layer with `units` hidden units: the gates are in them.

        Units that the block does not have are zero, which adds nothing.
        """
        state = {name: tensor.detach().clone() for name, tensor in self.layer.state_dict().items()}
        for last, gate in (("self_attn.out_proj", self.attention_gate), ("mlp.fc2", self.mlp_gate)):
            for name in (f"{last}.weight", f"{last}.bias"):
                state[name] *= torch.tanh(gate.detach())
        more = units - len(state["mlp.fc1.bias"])
        pad = nn.functional.pad
        state["mlp.fc1.weight"] = pad(state["mlp.fc1.weight"], (0, 0, 0, more))
        state["mlp.fc1.bias"] = pad(state["mlp.fc1.bias"], (0, more))
        state["mlp.fc2.weight"] = pad(state["mlp.fc2.weight"], (0, more))
        return state


class Gated(nn.Module):  # type: ignore[misc]
    """A gated block and the layer of the base that it stands before."""

    def __init__(self, config: Any, base: nn.Module) -> None:
        """Put a new block of the base's kind before `base`."""
        super().__init__()
        self.block = Block(config, type(base))
        self.base = base

    def forward(self, hidden_states: Tensor, attention_mask: Any = None, **options: Any) -> Tensor:
        """Go through the block, then the base's layer."""
        hidden_states = self.block(hidden_states, attention_mask, **options)
        shown: Tensor = self.base(hidden_states, attention_mask, **options)
        return shown


def customise(
    model: _Model, mode: str = DEFAULT, last: int = 6, train_scale: bool = True
) -> _Model:
    """Put gated blocks before the `last` layers of the towers of `mode`, and set what is trained.

    The model is changed in place and returned. Its features stay what they were, bit for bit.

    Args:
        model: A CLIP or SigLIP without gated blocks.
        mode: One of MODES.
        last: Blocks of a tower: 6 for B/32, B/16 and L/14, 12 for bigG.
        train_scale: Train the scale of similarities (and SigLIP's bias) too.

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
    allowed = set(trainable(model, mode, train_scale))
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in allowed)
    return model


def trainable(model: nn.Module, mode: str, train_scale: bool = True) -> list[str]:
    """Return the names of the weights that `mode` trains; the scale of similarities with them.

    The released code never freezes the scale, also where a tower is locked; `train_scale=False`
    does.
    """
    wanted = []
    for name, _ in model.named_parameters():
        if name in SCALE:
            if train_scale:
                wanted.append(name)
            continue
        tower = "text" if name.startswith(("text_model.", "text_projection.")) else "image"
        chosen = {
            "locked-text": tower == "image",
            "locked-image": tower == "text",
            "full": True,
        }.get(mode, ".block." in name)
        if chosen:
            wanted.append(name)
    return wanted


def fold(model: _Model) -> _Model:
    """Return a plain model with the same features: every gated block is one more layer.

    A bias of similarities that a CLIP was trained with is left out: it changes no order.
    """
    config = deepcopy(model.config)
    state: dict[str, Tensor] = {}
    for name, part in (("text", config.text_config), ("image", config.vision_config)):
        layers = list(_plain(_tower(model, name).encoder.layers, part.intermediate_size))
        part.num_hidden_layers = len(layers)
        prefix = "text_model" if name == "text" else "vision_model"
        for place, layer in enumerate(layers):
            for key, tensor in layer.items():
                state[f"{prefix}.encoder.layers.{place}.{key}"] = tensor
    for key, tensor in model.state_dict().items():
        if ".encoder.layers." not in key:
            state[key] = tensor
    plain = type(model)(config).to(model.dtype)
    if "logit_bias" not in plain.state_dict():
        state.pop("logit_bias", None)
    plain.load_state_dict(state)
    plain.eval()
    return plain  # type: ignore[no-any-return]


def clamp(model: Any) -> None:
    """Keep the logarithm of the scale between 0 and ln 100, after every step."""
    with torch.no_grad():
        model.logit_scale.clamp_(0.0, float(torch.tensor(MOST_SCALE).log()))


def gates(model: nn.Module) -> dict[str, float]:
    """Return tanh of every gate, by name: how much each block adds."""
    return {
        name: float(torch.tanh(weight.detach()))
        for name, weight in model.named_parameters()
        if name.endswith("_gate")
    }


def _tower(model: Any, name: str) -> Any:
    return model.text_model if name == "text" else model.vision_model


def _plain(layers: Any, units: int) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors of each plain layer."""
    for layer in layers:
        if isinstance(layer, Gated):
            yield layer.block.folded(units)
            yield layer.base.state_dict()
        else:
            yield layer.state_dict()
