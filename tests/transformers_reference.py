"""The reference for `transformers:` models: transformers itself, asked one request at a time."""

from io import BytesIO
from pathlib import Path
from typing import Any

import tiny_models
import torch
from PIL import Image as Pictures

from harness.engine.load import image_only
from harness.types import Answer, Failure, Image, Reply, Sample

FAMILIES = ["llava", "llava_next", "qwen", "idefics3"]
QUESTIONS = ["Is there a dog?", "What colour is the large cube on the left?", "Why?", "Is it red?"]


def images(count: int = 3) -> list[Image]:
    sizes = [(40, 32), (90, 30), (28, 70)]
    return [Image(f"{i}.png", tiny_models.picture(i, sizes[i % 3])) for i in range(count)]


def samples(pictures: list[Image], choices: tuple[str, ...] = ()) -> list[Sample]:
    return [
        Sample(f"{image.name}-{i}", (image, question), choices=choices)
        for i, question in enumerate(QUESTIONS)
        for image in pictures
    ]


def answers(replies: Any) -> list[Answer | Failure]:
    """Return replies in the order of the samples; each must come exactly once."""
    got: list[Reply] = list(replies)
    assert sorted(at for at, _ in got) == list(range(len(got)))
    return [reply for _, reply in sorted(got, key=lambda item: item[0])]


class Reference:
    """The same checkpoint asked with transformers' own processor and `generate`, one by one."""

    def __init__(self, where: Path, family: str) -> None:
        import transformers

        if family == "qwen":
            self.processor = image_only(transformers.Qwen2_5_VLProcessor).from_pretrained(where)
        else:
            self.processor = transformers.AutoProcessor.from_pretrained(where)
        self.model = transformers.AutoModelForImageTextToText.from_pretrained(where).eval()

    def inputs(self, sample: Sample, more: str = "") -> dict[str, Any]:
        content: list[dict[str, str]] = []
        pictures = []
        for part in sample.prompt:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            else:
                content.append({"type": "image"})
                pictures.append(Pictures.open(BytesIO(part.read())).convert("RGB"))
        turns = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(turns, add_generation_prompt=True) + more
        options = {"return_tensors": "pt", "add_special_tokens": False}
        return dict(self.processor(text=[text], images=pictures or None, **options))

    def text(self, sample: Sample, count: int, eos: list[int]) -> str:
        inputs = self.inputs(sample)
        length = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            out = self.model.generate(
                **inputs, max_new_tokens=count, do_sample=False, eos_token_id=eos
            )
        tokens = out[0, length:].tolist()
        kept = next((tokens[:i] for i, token in enumerate(tokens) if token in eos), tokens)
        return self.processor.decode(kept, skip_special_tokens=True).strip()

    def logprobs(self, sample: Sample, choice: str) -> list[float]:
        asked = self.inputs(sample)["input_ids"][0]
        inputs = self.inputs(sample, choice)
        ids = inputs["input_ids"][0]
        assert ids[: len(asked)].equal(asked), "the test wants a choice without merges"
        with torch.inference_mode():
            logits = self.model(**inputs).logits[0].log_softmax(-1)
        return [float(logits[i - 1, ids[i]]) for i in range(len(asked), len(ids))]
