"""Settings of a local model and loading its parts: weights, processor, adapter.

Everything that decides which numbers a checkpoint computes is here, so that each kind of model
(decoder-only, dual encoder, image-text matcher) reads the same options in the same way.
May import torch at the top; transformers and peft only inside the functions that need them.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from harness.errors import DataError, MissingExtra, SightlineError, UsageError

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user chose for one local model; checked by `harness.models.transformers.make`."""

    dtype: str = "auto"
    """auto (as stored; float32 on a CPU), float32, bfloat16 or float16."""
    device: str = "auto"
    """auto (cuda, else mps, else cpu) or a torch device name."""
    revision: str | None = None
    adapter: str | None = None
    """Directory or hub name of a peft adapter."""
    trust_remote_code: bool = False
    batch: int = 0
    """Images or candidates per forward pass of an encoder; 0: chosen by the model kind."""
    workers: int = 2
    """Threads that decode and preprocess images ahead of the model; 0: in the caller's thread."""
    gguf_file: str | None = None
    engine: str = "auto"
    """auto, packed, batched or single."""
    batch_tokens: int = 0
    """Tokens in one forward pass, padding and decode room included; 0: chosen by the device."""
    system: str | None = None
    attention: str | None = None
    """Attention implementation; None: sdpa, which takes a tree mask."""
    chat: bool | str = "auto"
    """Use the chat template: auto (when there is one), True or False."""
    compile: bool = False
    fit_grid: str = "full"
    """What fine-tuning searches: full, as the task says, or small; see `harness.fit.searching`."""
    video_pool: int = 0
    """Tokens for moments, where all pictures of a prompt make a video; 0: they are pictures."""
    video_frames: int = 0
    """Most frames of such a video; 0: as many as it has tokens for moments."""
    regions: str = "auto"
    """How a model looks at a box of a picture: see `harness.models.transformers.make`."""
    dense_side: int = 0
    """Shorter side in pixels of pictures whose places are encoded; 0: 512."""


def device_of(settings: Settings) -> torch.device:
    """Return the device that the settings name; "auto" takes the best one there is."""
    if settings.device != "auto":
        return torch.device(settings.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def dtype_of(settings: Settings, device: torch.device) -> torch.dtype | str:
    """Return the dtype for loading; "auto" is float32 on a CPU and the stored one elsewhere."""
    if settings.dtype != "auto":
        return DTYPES[settings.dtype]
    return torch.float32 if device.type == "cpu" else "auto"


def image_only(kind: Any) -> Any:
    """Return the processor class `kind` without its video part, which needs torchvision.

    Images and text go through the very same code; only videos can no longer be processed.
    """
    every = list(kind.get_attributes())
    names = [name for name in every if name != "video_processor"]

    class ImageOnly(kind):  # type: ignore[misc]  # the class is only known here
        # Some chat templates read the video part's settings although there is no video.
        video_processor = SimpleNamespace(num_frames=None, fps=None)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return list(names)

        @classmethod
        def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
            parts = super()._get_arguments_from_pretrained(*args, **kwargs)
            parts.insert(every.index("video_processor"), None)
            return list(parts)

    ImageOnly.__name__ = kind.__name__  # saved with the processor
    return ImageOnly


def read_config(address: str, settings: Settings) -> Any:
    """Read the checkpoint's configuration.

    Raises:
        UsageError: it needs code of its own and `trust_remote_code` is off; or it is an adapter.
        DataError: there is no such checkpoint, or its configuration cannot be read.
    """
    from transformers import AutoConfig

    folder = Path(address)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        name = base.get("base_model_name_or_path") or "BASE"
        raise UsageError(
            f"{address} is an adapter, not a model; give its base model as the address: "
            f"transformers:{name} with adapter={address}"
        )
    try:
        return AutoConfig.from_pretrained(address, **source(settings))
    except (OSError, ValueError) as error:
        raise cannot_load(address, error) from error


def source(settings: Settings) -> dict[str, Any]:
    """Return the arguments of every `from_pretrained` that say which files are meant."""
    known = {"revision": settings.revision} if settings.revision else {}
    return {**known, "trust_remote_code": settings.trust_remote_code}


def cannot_load(address: str, error: Exception) -> SightlineError:
    """Say why the checkpoint at `address` could not be loaded, and what to do."""
    if "trust_remote_code" in str(error):
        return UsageError(
            f"{address} brings Python code of its own, which is not run unless you ask for it: "
            "read that code, then set trust_remote_code=true and revision=<commit>"
        )
    what = f"cannot load {address}: {str(error).strip()}"
    return DataError(what if Path(address).exists() else f"{what} (not a local directory)")


def read_processor(address: str, config: Any, settings: Settings) -> Any:
    """Load the processor of an image-text model: PIL image processing, no video part.

    transformers has two implementations of many image processors, whose pixels differ slightly,
    and takes torchvision's where that is installed. The PIL one, which the official scripts of
    the benchmarks used, makes a number independent of what else is installed.
    """
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    options = source(settings)
    try:
        name = PROCESSOR_MAPPING_NAMES.get(config.model_type)
        kind = getattr(transformers, name, None) if name else None
        if kind is None:
            return transformers.AutoProcessor.from_pretrained(address, **options)
        if "video_processor" in kind.get_attributes():
            kind = image_only(kind)
        processor = kind.from_pretrained(address, **options)
        if "image_processor" in kind.get_attributes():
            processor.image_processor = transformers.AutoImageProcessor.from_pretrained(
                address, backend="pil", **options
            )
        return processor
    except (OSError, ValueError, ImportError, TypeError) as error:
        raise cannot_load(address, error) from error


def load_model(kind: Any, address: str, settings: Settings) -> tuple[Any, str]:
    """Load weights with the auto class `kind`, and the adapter; return the attention used too.

    The model is in evaluation mode on its device.
    """
    device = device_of(settings)
    options = source(settings) | {"dtype": dtype_of(settings, device)}
    if device.type != "cpu":
        options["device_map"] = {"": device}
    try:
        model = _whole(kind, address, settings.attention or "sdpa", options)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        if settings.attention or "attention" not in str(error).lower():
            raise cannot_load(address, error) from error
        # Some architectures have no sdpa; the eager one takes a tree mask as well.
        model = _whole(kind, address, "eager", options)
    if settings.adapter:
        model = with_adapter(model, settings.adapter)
    return finish(model, device, settings), model.config.get_text_config()._attn_implementation


def _whole(kind: Any, address: str, attention: str, options: Mapping[str, Any]) -> Any:
    """Load a model, refusing a checkpoint that lacks weights (DataError).

    transformers fills what is missing with random numbers, and scores made of those look like any.
    """
    with quiet():
        model, info = kind.from_pretrained(
            address, attn_implementation=attention, output_loading_info=True, **options
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise DataError(
            f"{address} lacks {len(missing)} weights of a {type(model).__name__} "
            f"({', '.join(missing[:3])}, ...); it is another kind of model, or a part of one"
        )
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars of transformers away: the run has one of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def finish(model: Any, device: torch.device, settings: Settings) -> Any:
    """Put `model` on `device` in evaluation mode; compile it where that was asked for."""
    model = model.to(device).eval().requires_grad_(False)
    if settings.compile:
        compile_parts(model)
    return model


def compile_parts(model: Any) -> None:
    """Compile the feed-forward blocks and norms of `model`, where most small kernels are.

    Not the whole: attention reads a cache whose length changes with every batch, and each new
    length would be compiled anew.
    """
    for module in model.modules():
        if type(module).__name__.endswith(("MLP", "RMSNorm")):
            module.compile(dynamic=True)


def with_adapter(model: Any, adapter: str) -> Any:
    """Return `model` with the peft `adapter` at work in its layers, not merged into the weights.

    Merging rounds in half precision: the numbers would be those of another model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra("peft", f"the adapter {adapter}", "pip install peft") from error
    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that its next major release drops.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            wrapped = PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(f"cannot load the adapter {adapter}: {error}") from error
    if wrapped.active_peft_config.is_prompt_learning:
        raise UsageError(f"the adapter {adapter} learns a prompt; only layer adapters (LoRA, ...)")
    return wrapped.get_base_model()


def read_tokenizer(address: str, settings: Settings) -> Any:
    """Load the tokenizer of a language model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(address, **source(settings))
    except (OSError, ValueError, ImportError) as error:
        raise cannot_load(address, error) from error
