"""Where a small LLaVA starts: words and pictures in one space, attention that can look things up.

Published towers and language models bring this from their pretraining; a small one would spend most
of its minutes on finding it (docs/decisions/007-small-models.md). Everything trains afterwards.
Used by small.py alone. Imports torch and the tower's module inside functions.
"""

from typing import Any


def match(model: Any, seed: int, pull: float = 1.0, copy: float = 0.5) -> None:
    """Let attention start by looking at what is alike, and passing on what is there.

    Mimetic initialisation (Trockman and Kolter 2023, arXiv 2305.09828): of each layer, query and
    key are the same orthogonal map, and output is the transpose of value. A small model otherwise
    spends most of its training on finding that a word belongs to the patch that shows it.

    Args:
        model: A LLaVA with a Llama of as many key as query heads.
        seed: Of the maps.
        pull: Scale of queries and keys; 0: looks everywhere alike.
        copy: Scale of what is passed on.
    """
    import torch

    draw = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            part = layer.self_attn
            width = part.q_proj.weight.shape[0]
            for first, second, scale in (
                (part.q_proj, part.k_proj, pull),
                (part.v_proj, part.o_proj, copy**0.5),
            ):
                turn = torch.linalg.qr(torch.randn(width, width, generator=draw))[0] * scale
                first.weight.copy_(turn)
                second.weight.copy_(turn if second is part.k_proj else turn.T)


_BACK = ((0, 1.0, 6.0), (0, 2.0, 6.0), (0, 4.0, 2.0), (1, 4.0, 2.0), (1, 13.0, 2.0))
"""Layer, tokens back and sharpness of heads that start by looking there: at 6 they see that token
alone, at 2 a window of five around it. In their order the first heads of a layer. Thirteen tokens
before the place where an answer starts is the end of a question that SHORT comes after."""


def look_back(model: Any) -> None:
    """Let some heads start by looking a fixed way back, whatever is there.

    A word then begins with what was said just before it ("dog red"), and the place where an answer
    starts with the words of the question. Both are needed to look anything up, and small models
    find them late. Query and key of such a head are constants, turned against each other by the
    rotary angle of the distance, so that their product is highest there.

    Args:
        model: A LLaVA with a Llama of rotary positions and `attention_bias`; others are left alone.
    """
    import torch

    language = model.model.language_model
    if not getattr(language.config, "attention_bias", False):
        return
    angles = language.rotary_emb.inv_freq.double()
    taken: dict[int, int] = {}
    with torch.no_grad():
        for layer, back, sharp in _BACK:
            part, head = language.layers[layer].self_attn, taken.get(layer, 0)
            taken[layer] = head + 1
            rows = slice(head * part.head_dim, (head + 1) * part.head_dim)
            part.q_proj.weight[rows] = 0
            part.k_proj.weight[rows] = 0
            turned = torch.cat([torch.cos(back * angles), -torch.sin(back * angles)])
            part.q_proj.bias[rows] = (sharp * turned).float()
            still = torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
            part.k_proj.bias[rows] = (sharp * still).float()


def align(model: Any, tokenizer: Any, lessons: Any) -> int:
    """Start a connector where pictures and words share one space; return how many words.

    By ridge regression from the features of a region to the sum of the embeddings of the words
    that its phrase has. What a language model can do with a word that it reads it can then learn to
    do with a patch that shows the same, as after the contrastive training of published towers.

    Args:
        model: A LLaVA as wide as its tower.
        tokenizer: Its tokenizer; words of more than one token are left out.
        lessons: Regions with their words (trainers/engine/tower.py).
    """
    import torch

    from trainers.engine.tower import pooled

    table = model.get_input_embeddings().weight
    found = {}
    for place, word in enumerate(lessons.words):
        ids = tokenizer(f" {word}", add_special_tokens=False).input_ids
        if len(ids) == 1:
            found[place] = ids[0]
    with torch.no_grad():
        features, wanted = [], []
        for start in range(0, len(lessons.looks), 64):
            looks = lessons.looks[start : start + 64]
            features.append(pooled(model.model.vision_tower, looks))
            for look in looks:
                for words in look.words:
                    ids = [found[word] for word in words if word in found]
                    wanted.append(table[ids].sum(0))
        seen, goal = torch.cat(features).double(), torch.stack(wanted).double()
        centre, middle = seen.mean(0), goal.mean(0)
        seen = seen - centre
        ridge = 1e-2 * seen.pow(2).sum() / seen.shape[1] * torch.eye(seen.shape[1]).double()
        weight = torch.linalg.solve(seen.T @ seen + ridge, seen.T @ (goal - middle)).T
        set_connector(model.model.multi_modal_projector, weight, middle - weight @ centre)
    return len(found)


_LIFT = 6.0
"""How far above zero the first layer's values are moved: GELU passes them on unchanged there."""


def set_connector(projector: Any, weight: Any, bias: Any) -> None:
    """Make a connector this linear map: a linear one exactly, an MLP in GELU's straight part."""
    import torch

    first, second = projector.linear_1, projector.linear_2
    first.weight.copy_(weight)
    first.bias.copy_(bias)
    if type(projector.act).__name__ not in ("Identity", "LinearActivation"):
        first.bias.add_(_LIFT)
        torch.nn.init.eye_(second.weight)
        second.bias.fill_(-_LIFT)
