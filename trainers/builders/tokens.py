"""Tokenizers made ready for pictures: an image token, a pad token, a chat template.

`<image>` is added before `<pad>`, so that a Llama vocabulary gets the ids of the published
checkpoints (llava-hf: 32000 and 32001), and embeddings are later padded to a multiple of 64.
Imports tokenizers and transformers inside the functions that need them.
"""

from collections.abc import Iterable
from typing import Any

from harness.errors import DataError

IMAGE_TOKEN = "<image>"
PAD_TOKEN = "<pad>"
MULTIPLE = 64
"""Embedding rows come in multiples of this: matrix kernels are faster on such sizes."""


def prepare(tokenizer: Any, template: str | None = None) -> Any:
    """Add what a picture needs to `tokenizer`, in place, and return it.

    A pad token that is also the end or the unknown token is replaced: padding must never look
    like an end that the model is to learn.

    Args:
        tokenizer: a fast tokenizer; masks of the assistant's tokens come from character offsets.
        template: the chat template to keep with it; None leaves the one that it has.

    Raises:
        DataError: a slow tokenizer, or one without an end token.
    """
    if not tokenizer.is_fast:
        raise DataError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which cannot say which tokens the "
            "assistant wrote; install its fast version (sentencepiece and tokenizers)"
        )
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end token, so no answer could ever end")
    from transformers import AddedToken

    image = AddedToken(IMAGE_TOKEN, special=True, normalized=False)
    tokenizer.add_tokens([image], special_tokens=True)
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, tokenizer.unk_token_id):
        pad = AddedToken(PAD_TOKEN, special=True, normalized=False)
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.padding_side = "left"  # of generation; training pads on the right by itself
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def rows(tokenizer: Any, present: int) -> int:
    """Return how many embedding rows a model with `present` rows needs for `tokenizer`."""
    needed = max(present, len(tokenizer))
    return -(-needed // MULTIPLE) * MULTIPLE


def learn(texts: Iterable[str], size: int) -> Any:
    """Train a byte-level BPE tokenizer of at most `size` tokens on `texts`.

    Ids 0 to 2 are pad, begin and end; digits stand alone, so that numbers and coordinates are
    written the same way everywhere. A begin token is put before every text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[PAD_TOKEN, "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=PAD_TOKEN, bos_token="<s>", eos_token="</s>"
    )
