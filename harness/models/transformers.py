"""Local checkpoints, run with Hugging Face transformers: `transformers:<directory or hub name>`.

Image-text models and language models are asked by the packed engine: each image is encoded once,
all questions about it are answered together (harness/engine/packed.py). Dual encoders (CLIP,
SigLIP) and BLIP-2's image-text matching have their own files in harness/engine. Weights are
loaded when the first answer is wanted. torch and transformers are imported inside functions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.types import Answer, Ask, Decoding, Failure, Image, Model, Reply, Sample

if TYPE_CHECKING:
    from harness.engine.choose import Ending, Outcome
    from harness.engine.drive import Engine
    from harness.engine.inputs import Asked, Reader
    from harness.engine.load import Settings

DUAL = {"clip", "siglip", "siglip2", "altclip", "chinese_clip", "align", "metaclip_2"}
"""Model types with an image and a text tower and a scale for their cosine."""
BATCH_TOKENS = {False: 16384, True: 4096}
"""Tokens in one forward pass by whether it is on a CPU, where larger batches gain nothing."""
REGIONS = ("auto", "crop", "pool", "draw")
"""Ways to look at a box of a picture."""
MATCH = ("itm", "itc")
"""Scores of BLIP-2: of the matching head, of the contrastive features."""
CHUNK = 256
"""Samples prepared together at most; those about the same images stay neighbours."""


def make(
    address: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    adapter: str | None = None,
    trust_remote_code: bool | str = False,
    engine: str = "auto",
    batch: int = 0,
    batch_tokens: int = 0,
    system: str | None = None,
    workers: int = 2,
    gguf_file: str | None = None,
    attention: str | None = None,
    chat: bool | str = "auto",
    compile: bool | str = False,
    fit_grid: str = "full",
    video_pool: int = 0,
    video_frames: int = 0,
    regions: str = "auto",
    dense_side: int = 0,
    match: str = "itm",
) -> Model:
    """Make the model at `address`: a checkpoint directory, a hub name or a .gguf file.

    Args:
        address: Where the checkpoint is.
        dtype: auto (as stored; float32 on a CPU), float32, bfloat16 or float16.
        device: auto (cuda, else mps, else cpu) or a torch device name.
        revision: Branch, tag or commit of a hub name.
        adapter: Directory or hub name of a peft adapter to put on top.
        trust_remote_code: Run Python code that the checkpoint brings.
        engine: auto (packed where it is the same as one by one), packed, batched or single.
        batch: Encoders: images or candidates in one forward pass; 0 chooses.
        batch_tokens: Decoders: tokens in one forward pass, room for answers included; halved when
            memory runs out. 0: 16384 on an accelerator, 4096 on a CPU.
        system: System message for models with a chat template.
        workers: Threads that decode and preprocess images ahead; 0: none.
        gguf_file: Which file of `address` to load, where that is a folder of llama.cpp files.
        attention: transformers' attention implementation; the default is sdpa.
        chat: auto (a chat template where there is one), true or false.
        compile: Compile feed-forward blocks and norms with torch.compile.
        fit_grid: Dual encoders: rates and decays that fine-tuning tries, full (the protocol's) or
            small (12 candidates).
        video_pool: LLaVA: take all pictures of a prompt for the frames of one video, pooled as
            Video-ChatGPT does into so many tokens for moments (100 there) and one per patch.
        video_frames: Most frames of such a video, from the middles of equal segments; 0: as many
            as there are tokens for moments.
        regions: Dual encoders, where a task asks about a box: crop (also auto) looks at the box
            alone, pool at the features of its places on the whole picture. BLIP-2 retrieval: draw
            numbers and draws a sample's regions as its regions.json says (auto: as the task does).
        dense_side: Dual encoders: shorter side in pixels of a picture whose places are encoded;
            0: 512.
        match: BLIP-2 retrieval: score with the matching head (itm) or by the cosine of contrastive
            features (itc).

    Raises:
        UsageError: An option is wrong, or the architecture is none of these.
        DataError: There is no such checkpoint.
        MissingExtra: An option needs a package that is not installed.
    """
    from harness.engine.load import DTYPES, Settings, read_config
    from harness.fit import GRIDS

    settings = Settings(
        dtype=_one_of("dtype", dtype, ("auto", *DTYPES)),
        device=_device(device),
        revision=None if revision is None else str(revision),
        adapter=adapter,
        trust_remote_code=_flag("trust_remote_code", trust_remote_code),
        batch=_count("batch", batch, 0),
        workers=_count("workers", workers, 0),
        gguf_file=gguf_file,
        engine=_one_of("engine", engine, ("auto", "packed", "batched", "single")),
        batch_tokens=_count("batch_tokens", batch_tokens, 0),
        system=system,
        attention=attention,
        chat=chat if chat == "auto" else _flag("chat", chat),
        compile=_flag("compile", compile),
        fit_grid=_one_of("fit_grid", fit_grid, GRIDS),
        video_pool=_count("video_pool", video_pool, 0),
        video_frames=_count("video_frames", video_frames, 0),
        regions=_one_of("regions", regions, REGIONS),
        dense_side=_count("dense_side", dense_side, 0),
    )
    if not address:
        raise UsageError("transformers: needs an address, such as transformers:path/to/checkpoint")
    if video_frames > video_pool:
        raise UsageError(
            f"video_frames={video_frames} do not fit into the tokens of video_pool={video_pool}"
        )
    gguf = gguf_file is not None or address.endswith(".gguf")
    if gguf and video_pool:
        raise UsageError("video_pool needs a LLaVA checkpoint; a llama.cpp file has no tower")
    if gguf:
        return Decoder(address, settings, "gguf")
    use_itm = _one_of("match", match, MATCH) == "itm"
    config = read_config(address, settings)
    kind = _kind(config)
    if kind != "blip2" and (regions == "draw" or not use_itm):
        raise UsageError(
            f"regions=draw and match=itc are for BLIP-2 retrieval; {address} is {config.model_type}"
        )
    if kind not in ("dual", "blip2") and regions != "auto":
        raise UsageError(f"regions={regions} is for dual encoders; {address} is none")
    if video_pool and kind != "images":
        raise UsageError(f"video_pool needs a LLaVA checkpoint; {address} is {config.model_type}")
    if kind == "dual":
        from harness.engine.dual import DualEncoder

        dual: Model = DualEncoder(address, settings)
        return dual
    if kind == "blip2":
        from harness.engine.blip2 import ImageTextMatcher

        if regions in ("crop", "pool"):
            raise UsageError(f"regions={regions} is for dual encoders; for BLIP-2: auto or draw")
        matcher: Model = ImageTextMatcher(address, settings, use_itm)
        return matcher
    if kind == "blip2 writer":
        from harness.engine.blip2_writer import ImageTextWriter

        writer: Model = ImageTextWriter(address, settings)
        return writer
    return Decoder(address, settings, kind)


def _kind(config: Any) -> str:
    """Return which family a checkpoint belongs to: dual, blip2, blip2 writer, images or text."""
    from transformers.models.auto import modeling_auto as auto

    names = getattr(config, "architectures", None) or []
    if "Blip2ForImageTextRetrieval" in names:
        return "blip2"
    towers = hasattr(config, "vision_config") and hasattr(config, "text_config")
    if config.model_type in DUAL or (towers and hasattr(config, "logit_scale_init_value")):
        return "dual"
    remote = getattr(config, "auto_map", None) or {}
    if config.model_type == "blip-2" and config.is_encoder_decoder:
        return "blip2 writer"
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"{config.model_type} is an encoder-decoder; only decoder-only models run")
    if config.model_type in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or (
        "AutoModelForImageTextToText" in remote
    ):
        return "images"
    if config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (
        "AutoModelForCausalLM" in remote
    ):
        return "text"
    raise UsageError(
        f"transformers has no way to ask a '{config.model_type}' ({', '.join(names) or 'unnamed'}) "
        "a question: it is neither an image-text model nor a language model nor a dual encoder"
    )


class Decoder:
    """A decoder-only model, with or without images."""

    def __init__(self, address: str, settings: "Settings", kind: str) -> None:
        """Remember what to load; `kind` is images, text or gguf."""
        self.name = f"transformers:{address}"
        self.address, self.settings, self.kind = address, settings, kind
        self._engine: Engine | None = None
        self._reader: Reader | None = None
        self._loaded_facts: dict[str, Any] = {}

    def describe(self) -> Mapping[str, Any]:
        """Return what identifies the model, without loading weights.

        After the first answer there is also what loading found out, and under `engine` how the
        model was run: facts that tell two runs apart but not two models. The fingerprint of a
        local directory's weights is explained in harness/engine/identity.py.
        """
        from harness.engine.identity import fingerprint, of_processor

        asked = asdict(self.settings)
        elsewhere = ("workers", "batch", "batch_tokens", "revision", "adapter", "engine")
        for name in (*elsewhere, "fit_grid", "regions", "dense_side"):
            del asked[name]  # said elsewhere, or only about speed, or not about decoders
        if not self.settings.video_pool:
            for name in ("video_pool", "video_frames"):
                del asked[name]  # models that were recorded before these stay the same
        if self.kind != "gguf":
            self._read()  # a llama.cpp file has its tokenizer inside
        reader = self._reader
        return {
            "model": "transformers",
            "kind": self.kind,
            "address": self.address,
            "revision": self.settings.revision,
            "adapter": self.settings.adapter,
            "weights": fingerprint(self.address),
            "adapter_weights": fingerprint(self.settings.adapter or ""),
            "options": asked,
            "preprocessing": {**of_processor(reader.processor), **reader.describe()}
            if reader
            else None,
            **self._loaded_facts,
            "engine": self._engine.facts() if self._engine else None,
        }

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Answer all samples; those about the same images together."""
        if ask == "encode":
            raise UsageError(
                f"{self.name} is a decoder-only model and gives no features; "
                "ask a dual encoder (CLIP, SigLIP)"
            )
        if any(sample.facts.get("dense") == "map" for sample in samples):
            raise UsageError(
                f"{self.name} is a decoder-only model without dense features, and the task wants "
                "the class of every place of a picture; ask a dual encoder (CLIP, SigLIP)"
            )
        if ask == "generate" and decoding.max_tokens < 1:
            raise UsageError(f"max_tokens must be at least 1, not {decoding.max_tokens}")
        return self._answer(samples, ask == "rank", decoding)

    def _answer(self, samples: Sequence[Sample], rank: bool, decoding: Decoding) -> Iterator[Reply]:
        from harness.engine.choose import Ending
        from harness.engine.drive import Job
        from harness.engine.prefetch import ahead

        engine, reader = self._loaded()
        ending = Ending(engine.lm.eos, decoding.stop, decoding.max_tokens, engine.lm.decode)
        groups = ahead(
            lambda chunk: reader.group(chunk, rank),
            _chunks(samples),
            self.settings.workers,
            depth=4 * max(self.settings.workers, 1),
        )
        pending: dict[int, dict[int, Outcome]] = {}
        replied: set[int] = set()
        for key, result in engine.run(groups, Job(rank, decoding, ending)):
            at = key if isinstance(key, int) else key.sample
            if at in replied:
                continue  # another choice of the same sample has failed already
            if isinstance(result, str):
                replied.add(at)
                yield at, Failure(result)
                continue
            assert not isinstance(key, int)
            if not rank:
                yield at, _generated(result, ending, len(key.tokens))
                continue
            scores = pending.setdefault(at, {})
            scores[key.choice] = result
            if len(scores) == len(samples[at].choices):
                replied.add(at)
                yield at, _ranked(pending.pop(at), decoding, key.start)

    def _loaded(self) -> tuple["Engine", "Reader"]:
        if self._engine is None:
            self._engine = self._load()
        assert self._reader is not None
        return self._engine, self._reader

    def _read(self) -> "Reader":
        """Load what turns samples into tokens, once."""
        from harness.engine import load
        from harness.engine.inputs import Reader

        if self._reader is None:
            settings = self.settings
            config = load.read_config(self.address, settings)
            if self.kind == "images":
                processor = load.read_processor(self.address, config, settings)
            else:
                processor = load.read_tokenizer(self.address, settings)
            told = (processor, _image_token(config, processor), settings.chat, settings.system)
            if settings.video_pool:
                from harness.engine.video import VideoReader

                self._reader = VideoReader(*told, settings.video_pool, settings.video_frames)
            else:
                self._reader = Reader(*told)
        return self._reader

    def _load(self) -> "Engine":
        import transformers

        from harness.engine import load
        from harness.engine.drive import Engine
        from harness.engine.lm import LM, clean_generation

        settings = self.settings
        if self.kind == "gguf":
            model, reader = self._gguf()
            attention = model.config._attn_implementation
        else:
            reader = self._read()
            images = self.kind == "images"
            auto = (
                transformers.AutoModelForImageTextToText
                if images
                else transformers.AutoModelForCausalLM
            )
            model, attention = load.load_model(auto, self.address, settings)
            if settings.video_pool:
                from harness.engine.video import watch

                watch(model)
        put_aside = clean_generation(model, reader.tokenizer)
        lm = LM(model, reader.tokenizer, reader.image_token)
        self._loaded_facts = {
            "revision": settings.revision or getattr(model.config, "_commit_hash", None),
            "architecture": type(model).__name__,
            "dtype": str(lm.dtype).removeprefix("torch."),
            "device": str(lm.device),
            "attention": attention,
            "parameters": sum(p.numel() for p in model.parameters()),
            "generation_settings_put_aside": put_aside,
            "end_tokens": sorted(lm.eos),
        }
        budget = settings.batch_tokens or BATCH_TOKENS[lm.device.type == "cpu"]
        return Engine(lm, settings.engine, budget, attention)

    def _gguf(self) -> tuple[Any, "Reader"]:
        from harness.engine import load
        from harness.engine.gguf import load_gguf
        from harness.engine.inputs import Reader

        settings = self.settings
        device = load.device_of(settings)
        dtype = load.dtype_of(settings, device)
        model, tokenizer = load_gguf(self.address, settings.gguf_file, dtype, settings.revision)
        if settings.adapter:
            model = load.with_adapter(model, settings.adapter)
        self._reader = Reader(tokenizer, None, settings.chat, settings.system)
        return load.finish(model, device, settings), self._reader


def _chunks(samples: Sequence[Sample]) -> Iterator[list["Asked"]]:
    """Bring samples about the same images together, in the order of their first appearance."""
    groups: dict[object, list[Asked]] = {}
    known: dict[Image, object] = {}
    for at, sample in enumerate(samples):
        images = [part for part in sample.prompt if isinstance(part, Image)]
        for image in images:
            if image not in known:
                known[image] = _same(image)
        groups.setdefault(tuple(known[image] for image in images), []).append((at, sample))
    for group in groups.values():
        for start in range(0, len(group), CHUNK):
            yield group[start : start + CHUNK]


def _same(image: Image) -> object:
    """Return what two images have in common when they are the same picture of the same name."""
    if isinstance(image.source, Path | bytes):
        return image.name, image.source
    try:
        return image.name, sha256(image.read()).digest()
    except Exception:  # whoever prepares the sample meets the same error and reports it
        return image.name, id(image)


def _generated(outcome: "Outcome", ending: "Ending", tokens_in: int) -> Answer | Failure:
    cut = ending.cut(outcome.tokens)
    if cut is None:
        return Failure(f"the model stopped after {len(outcome.tokens)} tokens without an end token")
    text, taken, stop = cut
    return Answer(
        text=text, stop=stop, tokens_in=tokens_in, tokens_out=taken, seconds=outcome.seconds
    )


def _ranked(found: Mapping[int, "Outcome"], decoding: Decoding, tokens_in: int) -> Answer | Failure:
    sums = [math.fsum(found[i].logprobs) for i in range(len(found))]
    counts = [len(found[i].logprobs) for i in range(len(found))]
    mean = decoding.rank_by == "mean"
    scores = [s / n if mean else s for s, n in zip(sums, counts, strict=True)]
    if any(math.isnan(score) for score in scores):
        return Failure("the model gave a score that is not a number; try dtype=float32 or bfloat16")
    return Answer(
        scores=tuple(scores),
        choice=scores.index(max(scores)),
        tokens_in=tokens_in,
        tokens_out=sum(counts),
        seconds=math.fsum(outcome.seconds for outcome in found.values()),
    )


def _image_token(config: Any, processor: Any) -> int | None:
    """Return the id of the token that stands for image features."""
    for owner, name in (
        (config, "image_token_id"),
        (config, "image_token_index"),
        (processor, "image_token_id"),
    ):
        found = getattr(owner, name, None)
        if isinstance(found, int):
            return found
    return None


def _one_of(option: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise UsageError(f"{option} must be one of {', '.join(known)}, not {value!r}")
    return str(value)


def _flag(option: str, value: Any) -> bool:
    known = {True: True, False: False, "true": True, "false": False, "yes": True, "no": False}
    found = known.get(value.lower() if isinstance(value, str) else value)
    if found is None:
        raise UsageError(f"{option} must be true or false, not {value!r}")
    return found


def _count(option: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{option} must be a whole number of at least {least}, not {value!r}")
    return value


def _device(name: Any) -> str:
    if name == "auto":
        return "auto"
    import torch

    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device must be auto or like cuda:0, mps or cpu, not {name!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name}: torch sees {torch.cuda.device_count()} CUDA devices here")
    return str(name)
