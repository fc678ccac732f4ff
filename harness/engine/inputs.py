"""From samples to token paths: images, chat template, processor.

The text goes through the checkpoint's own processor for every sample, so the tokens are those
that `processor(text=..., images=...)` gives; only the image processor's work is done once per group
of samples about the same images. Images are opened as the official scripts of the benchmarks do,
`Image.open(...).convert("RGB")`: EXIF orientation is not applied. A truncated or corrupt image is
an error. May import torch; PIL and transformers inside functions.
"""

import copy
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import torch

from harness.engine.plan import Path, Vision
from harness.engine.tree import common
from harness.errors import DataError, UsageError
from harness.types import Image, Prompt, Sample

Asked = tuple[int, Sample]
"""A sample and its position in the sequence that was asked."""


@dataclass(frozen=True, slots=True)
class Group:
    """What became of samples about the same images."""

    paths: tuple[Path, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    """By position of the sample."""


class Reader:
    """Turns samples into paths for one checkpoint. Used from several threads."""

    def __init__(
        self, processor: Any, image_token: int | None, chat: bool | str, system: str | None
    ) -> None:
        """Take a processor, or a tokenizer for a model without images.

        Raises:
            UsageError: `chat` is True, or `system` is given, and there is no chat template.
        """
        self.processor, self.image_token, self.system = processor, image_token, system
        self.sees = hasattr(processor, "image_processor")
        self.tokenizer = processor.tokenizer if self.sees else processor
        owners = (processor, self.tokenizer)
        self.template: Any = next((o for o in owners if getattr(o, "chat_template", None)), None)
        if self.template is None and (chat is True or system is not None):
            what = "chat=true" if chat is True else "system"
            raise UsageError(f"{what} needs a chat template, and this checkpoint has none")
        self.chat = self.template is not None if chat == "auto" else bool(chat)
        if system is not None and not self.chat:
            raise UsageError("system needs the chat template, and chat=false switched it off")
        self.joiner = self._joiner() if self.chat else None
        self._idle: deque[Any] = deque()

    def describe(self) -> dict[str, Any]:
        """Return how prompts are made, for the record."""
        return {
            "prompt": "chat template" if self.chat else "plain",
            "system": self.system,
            "choice_joiner": "space unless there is one" if self.joiner is None else self.joiner,
            "images": "RGB, EXIF orientation not applied",
        }

    def group(self, asked: Sequence[Asked], rank: bool) -> Group:
        """Return the paths of samples whose prompts hold the same images in the same order."""
        images = [part for part in asked[0][1].prompt if isinstance(part, Image)]
        if images and not self.sees:
            text = "this model reads text only; put `blind:` before its address to hide the images"
            return Group(errors={at: text for at, _ in asked})
        where = f"{', '.join(image.name for image in images)}: " if images else ""
        try:
            pictures = [open_image(image) for image in images]
        except DataError as error:
            return Group(errors={at: str(error) for at, _ in asked})
        paths: list[Path] = []
        errors: dict[int, str] = {}
        shared: list[Vision] = []
        with self._own(bool(images)) as processor:
            for at, sample in asked:
                try:
                    paths += self._paths(processor, pictures, at, sample, rank, shared)
                except Exception as error:  # one sample's trouble is its own; the others go on
                    errors[at] = f"{where}{type(error).__name__}: {error}"
        return Group(tuple(paths), errors)

    @contextmanager
    def _own(self, images: bool) -> Iterator[Any]:
        """Lend the processor with a tokenizer that nobody else uses and a memory for one group.

        A tokenizer keeps padding state, which two threads must not share; copies are kept for
        the next group, since copying a large vocabulary takes a while.
        """
        try:
            tokenizer = self._idle.pop()
        except IndexError:
            tokenizer = copy.deepcopy(self.tokenizer)
        try:
            if not self.sees:
                yield tokenizer
                return
            processor = copy.copy(self.processor)
            processor.tokenizer = tokenizer
            if images:
                processor.image_processor = _Once(processor.image_processor)
            yield processor
        finally:
            self._idle.append(tokenizer)

    def _paths(
        self,
        processor: Any,
        pictures: Sequence[Any],
        at: int,
        sample: Sample,
        rank: bool,
        shared: list[Vision],
    ) -> list[Path]:
        text = self.text(sample.prompt, sample.system)
        tokens, extras, tensors = self._encode(processor, text, pictures)
        head = self._head(tokens, bool(pictures))
        # The group's first sample brings the image tensors; all others share them.
        if pictures and not shared:
            shared.append(Vision(tensors))
        vision = shared[0] if pictures else None
        if not rank:
            return [Path(at, -1, sample.id, tokens, len(tokens), head, vision, extras)]
        if not sample.choices:
            raise ValueError("the sample has no choices to rank")
        paths = []
        for i, choice in enumerate(sample.choices):
            joint, extras, _ = self._encode(processor, text + self._join(text) + choice, pictures)
            # Merges at the boundary may change the prompt's last tokens: what differs is scored.
            start = min(common([tokens, joint]), len(joint) - 1)
            if start < 1:
                raise ValueError(f"choice {i} leaves no token of the prompt to predict it from")
            paths.append(Path(at, i, sample.id, joint, start, head, vision, extras))
        return paths

    def _encode(
        self, processor: Any, text: str, pictures: Sequence[Any]
    ) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]], dict[str, torch.Tensor]]:
        """Call the processor as one would for a single request, with a batch of one.

        Returns tokens, other values per token, and image tensors.
        """
        options: dict[str, Any] = {}
        if self.chat and self.tokenizer.bos_token and text.startswith(self.tokenizer.bos_token):
            options["add_special_tokens"] = False  # the template has written it already
        if pictures:
            options["images"] = list(pictures)
            # Tensors for the images alone: making one of each text is half of the work.
            if hasattr(processor, "_merge_kwargs"):
                options["images_kwargs"] = {"return_tensors": "pt"}
            else:
                options["return_tensors"] = "pt"
        out = dict(processor(text=[text], **options))
        out.pop("attention_mask", None)
        tokens = _line(out.pop("input_ids"))
        if not tokens:
            raise ValueError("the prompt has no tokens")
        extras: dict[str, tuple[int, ...]] = {}
        tensors: dict[str, torch.Tensor] = {}
        for key, value in out.items():
            if len(value) == 1 and len(value[0]) == len(tokens) and _is_line(value[0]):
                extras[key] = _line(value)
            else:
                tensors[key] = torch.as_tensor(value)
        return tokens, extras, tensors

    def _head(self, tokens: Sequence[int], images: bool) -> int:
        """Return one past the last image token; all tokens where that cannot be known."""
        if not images:
            return 0
        if self.image_token is None or self.image_token not in tokens:
            return len(tokens)
        return len(tokens) - tokens[::-1].index(self.image_token)

    def text(self, prompt: Prompt, system: str = "") -> str:
        """Return the text of `prompt` for the processor, image tokens in their places.

        `system` is the sample's own message; it goes before the one of the options. Without a
        chat template it is the first paragraph.
        """
        merged = _merge(prompt if self.chat or not system else (f"{system}\n\n", *prompt))
        if self.chat:
            return self._render(self._turn(merged, system), True)
        mark = getattr(self.processor, "image_token", "")
        return "".join(part if isinstance(part, str) else mark for part in merged)

    def _turn(self, parts: Sequence[str | Image], system: str = "") -> list[dict[str, Any]]:
        """Return the conversation: the system's words, then one turn of the user."""
        content: Any = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in parts
        ]
        if not self.sees:
            content = "".join(part for part in parts if isinstance(part, str))
        turns = [{"role": "user", "content": content}]
        if (first := system or self.system) is not None:
            turns.insert(0, {"role": "system", "content": self._words(first)})
        return turns

    def _words(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self.sees else text

    def _render(self, turns: list[dict[str, Any]], more: bool) -> str:
        out = self.template.apply_chat_template(turns, tokenize=False, add_generation_prompt=more)
        return str(out)

    def _joiner(self) -> str:
        """Return the white space that the template puts between its prompt and an answer.

        Many templates ask with "ASSISTANT:" and write an answer as "ASSISTANT: Yes"; ranking
        "ASSISTANT:Yes" would score a string that the model never saw in training.
        """
        turns, answer = self._turn(["?"]), "answer"
        asked = self._render(turns, True)
        said = [*turns, {"role": "assistant", "content": self._words(answer)}]
        try:
            full = self._render(said, False)
        except Exception:  # a template may refuse an assistant's turn; then nothing is known
            return ""
        gap = full[len(asked) :].partition(answer)[0] if full.startswith(asked) else ""
        return gap if not gap.strip() else ""

    def _join(self, text: str) -> str:
        """Return what stands between the prompt's `text` and a choice."""
        if self.joiner is not None:
            return self.joiner
        return "" if not text or text[-1].isspace() else " "


def open_image(image: Image) -> Any:
    """Decode `image` wholly, as RGB. Raises DataError naming it when it is not a whole picture."""
    from PIL import Image as Pictures

    try:
        with Pictures.open(BytesIO(image.read())) as picture:
            picture.load()
            return picture.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # PIL raises half a dozen kinds for files that are not pictures
        raise DataError(
            f"image {image.name}: cannot be decoded ({error}); the file is damaged or no picture"
        ) from error


class _Once:
    """An image processor that does its work once and gives every caller a copy of the result."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._known: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        key = repr((args, sorted(kwargs.items(), key=lambda item: item[0])))
        if key not in self._known:
            self._known[key] = self._inner(images, *args, **kwargs)
        known = self._known[key]
        return type(known)(dict(known.data))  # processors take keys out of it


def _merge(prompt: Prompt) -> list[str | Image]:
    """Join neighbouring texts: a template may put something between two text parts."""
    out: list[str | Image] = []
    for part in prompt:
        if out and isinstance(part, str) and isinstance(out[-1], str):
            out[-1] += part
        else:
            out.append(part)
    return out


def _line(batch: Any) -> tuple[int, ...]:
    """Return the only line of a list or tensor."""
    return tuple(int(value) for value in batch[0])


def _is_line(values: Any) -> bool:
    return all(isinstance(value, int) or getattr(value, "ndim", None) == 0 for value in values)
