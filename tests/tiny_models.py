"""Small random checkpoints with real processors, written where a test or benchmark asks for them.

Nothing is downloaded: a byte-level BPE tokenizer is trained on a short text, the weights are drawn
from a seed (large enough that answers depend on the image and on the question), and everything
is saved with `save_pretrained`, so that it is loaded exactly like a published checkpoint.
Imports transformers only inside the functions. May be imported by tests and benchmarks.
"""

from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

TEXT = (
    "Is there a dog in the image? Please answer yes or no. What colour is the large cube on the "
    "left of the small red ball? The person on the right wants to open the door. USER: ASSISTANT: "
    "Describe the picture in one sentence. A cat sits on a mat near 3 green trees and 12 cars. "
    "Which of these is true: A. B. C. D. E.? No, there is not. Yes, there is. "
)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role | upper }}: "
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}IMAGE\n{% else %}{{ p.text }}{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
TEXT_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def make_tokenizer(*specials: str, template: str | None = None, **options: Any) -> Any:
    """Train a byte-level BPE tokenizer: ids 0 pad, 1 bos, 2 eos, then `specials`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>", *specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([TEXT], trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    tokens = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **tokens, **options)
    tokenizer.chat_template = template
    return tokenizer


def make_llava(path: Path, seed: int = 0) -> Path:
    """Write a LLaVA-1.5: CLIP at 28 x 28 pixels in patches of 7, two-layer projector, Llama."""
    from transformers import LlavaForConditionalGeneration

    config, processor = llava_parts(28, 7, VISION_SIZES, TEXT_SIZES)
    return _write(path, LlavaForConditionalGeneration, config, processor, seed)


def llava_parts(
    image: int, patch: int, vision: dict[str, Any], text: dict[str, Any]
) -> tuple[Any, Any]:
    """Return the configuration and the processor of a LLaVA-1.5 of any size.

    Args:
        image: Height and width in pixels.
        patch: Height and width of a patch in pixels.
        vision: Sizes of the CLIP tower.
        text: Sizes of the Llama; a `vocab_size` may be larger than the tokenizer's.
    """
    from transformers import LlavaConfig, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = make_tokenizer("<image>", template=TEMPLATE.replace("IMAGE", "<image>"))
    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": image}, crop_size={"height": image, "width": image}
        ),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    clip = {"model_type": "clip_vision_model", "image_size": image, "patch_size": patch}
    config = LlavaConfig(
        vision_config=clip | vision,
        text_config={"model_type": "llama", "vocab_size": len(tokenizer)} | text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
    )
    return config, processor


def make_llava_next(path: Path, seed: int = 0) -> Path:
    """Write a LLaVA-NeXT: tiles of 28 x 28 pixels, so that images differ in their token count."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    pinpoints = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
    tokenizer = make_tokenizer("<image>", template=TEMPLATE.replace("IMAGE", "<image>"))
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": 28},
            crop_size={"height": 28, "width": 28},
            image_grid_pinpoints=pinpoints,
        ),
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    config = LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 28, "patch_size": 7}
        | VISION_SIZES,
        text_config={"model_type": "llama", "vocab_size": len(tokenizer)} | TEXT_SIZES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-2,
    )
    return _write(path, LlavaNextForConditionalGeneration, config, processor, seed)


def make_qwen(path: Path, seed: int = 0) -> Path:
    """Write a Qwen2.5-VL: native resolution, window attention, three-axis rotary positions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from harness.engine.load import image_only

    names = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = make_tokenizer(
        *names, template=TEMPLATE.replace("IMAGE", names[0] + names[2] + names[1])
    )
    processor = image_only(Qwen2_5_VLProcessor)(
        Qwen2VLImageProcessorPil(
            size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64},
            patch_size=4,
            merge_size=2,
            temporal_patch_size=2,
        ),
        tokenizer,
        chat_template=tokenizer.chat_template,
    )
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(list(names)), strict=True))
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
            "out_hidden_size": TEXT_SIZES["hidden_size"],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
        }
        | TEXT_SIZES,
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )
    return _write(path, Qwen2_5_VLForConditionalGeneration, config, processor, seed)


def make_idefics3(path: Path, seed: int = 0) -> Path:
    """Write an Idefics3, the family of SmolVLM: images split into tiles, pixel shuffle."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tiles = [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)]
    tokenizer = make_tokenizer(
        "<fake_token_around_image>",
        "<image>",
        "<end_of_utterance>",
        "<global-img>",
        *tiles,
        template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(
            size={"longest_edge": 56}, max_image_size={"longest_edge": 28}, do_image_splitting=True
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
    )
    config = Idefics3Config(
        vision_config={"model_type": "idefics3_vision", "image_size": 28, "patch_size": 7}
        | VISION_SIZES,
        text_config={"model_type": "llama", "vocab_size": len(tokenizer)} | TEXT_SIZES,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    return _write(path, Idefics3ForConditionalGeneration, config, processor, seed)


def make_llama(path: Path, seed: int = 0, template: str | None = TEMPLATE) -> Path:
    """Write a text-only Llama; without a chat `template` it is a base model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(template=template)
    config = LlamaConfig(vocab_size=len(tokenizer), **TEXT_SIZES)
    return _write(path, LlamaForCausalLM, config, tokenizer, seed)


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> bytes:
    """Return a PNG of `size` (width, height) pixels with coloured rectangles drawn from `seed`."""
    from PIL import Image, ImageDraw

    draw = Random(seed)
    image = Image.new("RGB", size, tuple(draw.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = draw.randrange(size[0]), draw.randrange(size[1])
        box = (x, y, x + draw.randrange(4, size[0]), y + draw.randrange(4, size[1]))
        pen.rectangle(box, fill=tuple(draw.randrange(256) for _ in range(3)))
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def scale(model: Any, seed: int) -> None:
    """Draw all weight matrices anew with unit gain, so that activations keep their size.

    The stock initialisation (0.02) makes a small model answer the same to everything, and then
    a comparison of two ways to compute the answer would pass for the wrong reason.
    """
    import torch

    generator = torch.Generator(device=model.device).manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            gain = 3.0 if "lm_head" in name else 1.4
            weight.data.normal_(0.0, gain / weight[0].numel() ** 0.5, generator=generator)


def _write(path: Path, kind: Any, config: Any, processor: Any, seed: int) -> Path:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    scale(model, seed)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return Path(path)
