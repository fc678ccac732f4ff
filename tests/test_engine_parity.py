"""Packed = one by one, for random trees, on four architectures of published families.

The reference is transformers itself, called here request by request: `model.generate` for the
tokens, and a plain forward pass for the log-probabilities.
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path as FilePath
from random import Random
from typing import Any

import pytest
import tiny_models
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.engine import batch, packed, parity, plan
from harness.engine.choose import Ending
from harness.engine.lm import LM
from harness.engine.load import image_only
from harness.engine.plan import Path, Vision

FAMILIES = ["llava", "llava_next", "qwen", "idefics3"]
SIZES = [(40, 32), (90, 30), (28, 70), (64, 64)]
STEPS = 4
BOUND = 1e-4
check = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as transformers loads it, and the same model as the engine sees it."""

    model: Any
    processor: Any
    lm: LM


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that makes and loads a family's tiny checkpoint once."""
    torch.set_num_threads(1)

    @cache
    def make(family: str) -> Loaded:
        place: FilePath = tmp_path_factory.mktemp(family)
        getattr(tiny_models, f"make_{family}")(place)
        import transformers

        if family == "qwen":
            processor = image_only(transformers.Qwen2_5_VLProcessor).from_pretrained(place)
        else:
            processor = transformers.AutoProcessor.from_pretrained(place)
        model = transformers.AutoModelForImageTextToText.from_pretrained(place).eval()
        token = getattr(model.config, "image_token_id", None)
        return Loaded(model, processor, LM(model, processor.tokenizer, token))

    return make


def ask(loaded: Loaded, picture: bytes, question: str) -> dict[str, Any]:
    """Return the processor's inputs for one question about one picture."""
    words = [{"type": "image"}, {"type": "text", "text": question}]
    text = loaded.processor.apply_chat_template(
        [{"role": "user", "content": words}], add_generation_prompt=True
    )
    images = [Image.open(BytesIO(picture)).convert("RGB")]
    out = loaded.processor(
        text=[text], images=images, return_tensors="pt", add_special_tokens=False
    )
    return dict(out)


def stem(loaded: Loaded, seed: int) -> tuple[dict[str, Any], list[int], Vision]:
    """Return inputs about picture `seed`, their tokens up to the image's end, and its tensors."""
    inputs = ask(loaded, tiny_models.picture(seed, SIZES[seed % len(SIZES)]), "Is it red?")
    tokens = inputs["input_ids"][0].tolist()
    head = len(tokens) - tokens[::-1].index(loaded.lm.image_token)
    names = {"input_ids", "attention_mask", "mm_token_type_ids"}
    vision = Vision({name: tensor for name, tensor in inputs.items() if name not in names})
    return inputs, tokens[:head], vision


def branches(random: Random, count: int, vocabulary: int) -> list[list[int]]:
    """Draw `count` token sequences of 2 to 30 tokens that share prefixes now and then."""
    tails: list[list[int]] = []
    for _ in range(count):
        old = random.choice(tails) if tails and random.random() < 0.7 else []
        kept = old[: random.randrange(len(old) + 1)]
        tails.append(
            kept + [random.randrange(60, vocabulary) for _ in range(random.randrange(2, 15))]
        )
    if count > 2:
        tails[-1] = tails[0]  # asked twice
        tails[-2] = tails[0] + tails[1]  # one question is the beginning of another
    return tails


def group(loaded: Loaded, seed: int, tails: list[list[int]], first: int, rank: bool) -> list[Path]:
    inputs, head, vision = stem(loaded, seed)
    paths = []
    for i, tail in enumerate(tails):
        tokens = (*head, *tail)
        types = inputs.get("mm_token_type_ids")
        zeros = (0,) * len(tail)
        extras = (
            {}
            if types is None
            else {"mm_token_type_ids": (*types[0, : len(head)].tolist(), *zeros)}
        )
        # Up to five of the last tokens are the candidate; never the first behind the image.
        start = len(tokens) - (min(len(tail) - 1, 5) if rank else 0)
        choice = 0 if rank else -1
        paths.append(Path(first + i, choice, str(i), tokens, start, len(head), vision, extras))
    return paths


def alone(loaded: Loaded, path: Path, more: tuple[int, ...] = ()) -> torch.Tensor:
    """Return (tokens, vocabulary) log-probabilities of a plain pass over `path` and `more`."""
    ids = torch.tensor([[*path.tokens, *more]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **path.vision.tensors}
    for name, values in path.extras.items():
        inputs[name] = torch.tensor([[*values, *[0] * len(more)]])
    with torch.inference_mode():
        return loaded.model(**inputs).logits[0].log_softmax(-1)


def generated(loaded: Loaded, path: Path) -> tuple[int, ...]:
    """Return the tokens of transformers' own greedy generation for `path`."""
    ids = torch.tensor([path.tokens])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **path.vision.tensors}
    inputs |= {name: torch.tensor([values]) for name, values in path.extras.items()}
    with torch.inference_mode():
        out = loaded.model.generate(
            **inputs,
            max_new_tokens=STEPS,
            do_sample=False,
            suppress_tokens=[loaded.lm.image_token],
            eos_token_id=None,
        )
    return tuple(out[0, len(path.tokens) :].tolist())


def run(loaded: Loaded, paths: list[Path], budget: int) -> dict[Path, Any]:
    """Generate packed, never an image token (a forward pass would want an image for it)."""

    def choose(logits: torch.Tensor, who: torch.Tensor, step: int) -> torch.Tensor:
        banned = torch.tensor([loaded.lm.image_token])
        return logits.index_fill(-1, banned, float("-inf")).argmax(-1)

    ending = Ending(frozenset(), (), STEPS, lambda _: "")
    found: dict[Path, Any] = {}
    for part in plan.batches(list(plan.rows(paths, STEPS, budget)), STEPS, budget):
        with torch.inference_mode():
            found |= packed.generate(loaded.lm, part, choose, ending, trace=True)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@check
@given(
    seed=st.integers(0, 10**6),
    counts=st.lists(st.sampled_from([1, 2, 3, 7, 20, 50]), min_size=1, max_size=3),
    budget=st.sampled_from([300, 2000, 10**6]),
    fast=st.booleans(),
)
def test_generation_is_the_same_packed_and_alone(
    load: Any, family: str, seed: int, counts: list[int], budget: int, fast: bool
) -> None:
    loaded, random = load(family), Random(seed)
    # On an accelerator widths are rounded up and several steps run between two looks.
    loaded.lm.align, loaded.lm.stretch = (8, 3) if fast else (1, 1)
    paths: list[Path] = []
    for count in counts:
        tails = branches(random, count, len(loaded.processor.tokenizer))
        paths += group(loaded, random.randrange(1000), tails, len(paths), rank=False)
    found = run(loaded, paths, budget)
    assert set(found) == set(paths)
    for path in paths:
        tokens = found[path].tokens
        expected = alone(loaded, path, tokens[:-1])[len(path.tokens) - 1 :]
        torch.testing.assert_close(found[path].trace, expected, atol=BOUND, rtol=0)
    for path in random.sample(paths, min(3, len(paths))):
        assert found[path].tokens == generated(loaded, path)


@pytest.mark.parametrize("family", FAMILIES)
@check
@given(
    seed=st.integers(0, 10**6),
    counts=st.lists(st.sampled_from([1, 2, 8, 50]), min_size=1, max_size=3),
    budget=st.sampled_from([300, 10**6]),
)
def test_ranking_is_the_same_packed_and_alone(
    load: Any, family: str, seed: int, counts: list[int], budget: int
) -> None:
    loaded, random = load(family), Random(seed)
    paths: list[Path] = []
    for count in counts:
        tails = branches(random, count, len(loaded.processor.tokenizer))
        paths += group(loaded, random.randrange(1000), tails, len(paths), rank=True)
    found: dict[Path, Any] = {}
    with torch.inference_mode():
        for part in plan.batches(list(plan.rows(paths, 0, budget)), 0, budget):
            found |= packed.rank(loaded.lm, part)
        padded = batch.rank(loaded.lm, paths[:5])
    assert set(found) == set(paths)
    for path in paths:
        logprobs = alone(loaded, path)
        at = range(path.start - 1, len(path.tokens) - 1)
        expected = [float(logprobs[i, path.tokens[i + 1]]) for i in at]
        assert found[path].logprobs == pytest.approx(expected, abs=BOUND)
        if path in padded:
            assert padded[path].logprobs == pytest.approx(expected, abs=BOUND)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_depend_on_image_and_question(load: Any, family: str) -> None:
    """Otherwise the comparisons above would pass for a model that looks at nothing."""
    loaded = load(family)
    tails = branches(Random(1), 4, len(loaded.processor.tokenizer))[:2]
    paths = [path for seed in (4, 8) for path in group(loaded, seed, tails, 0, rank=False)]
    traces = [found.trace for found in run(loaded, paths, 10**6).values()]
    gaps = [(a - b).abs().max() for i, a in enumerate(traces) for b in traces[:i]]
    assert min(gaps) > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_parity_check_passes(load: Any, family: str) -> None:
    loaded = load(family)
    tails = branches(Random(2), 5, len(loaded.processor.tokenizer))
    paths = [path for seed in (1, 2) for path in group(loaded, seed, tails, 0, rank=False)]
    with torch.inference_mode():
        result = parity.check(loaded.lm, parity.choose(paths))
    assert result.passed and result.requests == 4
    assert 0 < result.worst <= BOUND


@pytest.mark.parametrize("family", FAMILIES)
def test_parity_check_sees_a_model_without_a_tree_mask(
    load: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single request with nothing else to look at must not hide it: there are decoys."""
    loaded = load(family)
    paths = group(loaded, 3, [[70, 71, 72, 73]], 0, rank=False)
    whole = loaded.lm.additive

    def plain_causal(mask: torch.Tensor) -> torch.Tensor:
        rows, queries, keys = mask.shape
        causal = torch.ones(rows, queries, keys, dtype=torch.bool).tril(keys - queries)
        return whole(causal)

    monkeypatch.setattr(loaded.lm, "additive", plain_causal)
    with torch.inference_mode():
        result = parity.check(loaded.lm, parity.choose(paths))
    assert not result.passed and result.worst > 0.1


def test_half_precision_passes_by_its_own_noise(load: Any) -> None:
    import copy

    loaded = load("llava")
    half = LM(
        copy.deepcopy(loaded.model).bfloat16(), loaded.processor.tokenizer, loaded.lm.image_token
    )
    tails = branches(Random(5), 4, len(loaded.processor.tokenizer))
    paths = group(loaded, 6, tails, 0, rank=False)
    with torch.inference_mode():
        result = parity.check(half, parity.choose(paths))
    assert result.passed and result.noise > 0


@pytest.mark.parametrize(("align", "stretch"), [(1, 1), (8, 4)])
@pytest.mark.parametrize("family", FAMILIES)
def test_branches_that_end_are_dropped_and_the_others_go_on(
    load: Any, family: str, align: int, stretch: int
) -> None:
    loaded, random = load(family), Random(11)
    loaded.lm.align, loaded.lm.stretch = align, stretch
    paths: list[Path] = []
    for seed, count in ((0, 2), (1, 9), (2, 5), (3, 3)):
        tails = branches(random, count, len(loaded.processor.tokenizer))
        paths += group(loaded, seed, tails, len(paths), rank=False)
    rows = list(plan.rows(paths, 12, 10**6))
    ban = torch.tensor([loaded.lm.image_token])

    def choose(logits: torch.Tensor, who: torch.Tensor, step: int) -> torch.Tensor:
        return logits.index_fill(-1, ban, float("-inf")).argmax(-1)

    def told(eos: frozenset[int]) -> dict[Path, Any]:
        with torch.inference_mode():
            return packed.generate(loaded.lm, rows, choose, Ending(eos, (), 12, lambda _: ""))

    whole = {path: found.tokens for path, found in told(frozenset()).items()}
    assert all(len(tokens) == 12 for tokens in whole.values())
    sizes: list[tuple[int, int]] = []
    network = loaded.model
    hook = network.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    # Branches of the second row live longest, so that rows before and behind it are dropped.
    last = {t for path in rows[1].paths for t in whole[path]}
    eos = frozenset(range(60, len(loaded.processor.tokenizer))) - last
    ended = told(eos)
    hook.remove()
    for path, tokens in whole.items():
        stop = next((i + 1 for i, token in enumerate(tokens) if token in eos), 12)
        length = len(ended[path].tokens)  # up to a stretch may lie behind the end
        assert ended[path].tokens == tokens[:length] and stop <= length < stop + stretch
    assert sizes[1][0] == 4 and 0 < sizes[-1][0] < 4
