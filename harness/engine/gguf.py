"""llama.cpp files (GGUF) as dense transformers models.

transformers reads the file and dequantises it with the `gguf` package; left alone it marks the
model as quantised, which then can neither be trained nor saved, so it is asked for plain weights.
Reading takes far longer than loading a checkpoint directory: `dense_checkpoint` pays it once.
May import torch; transformers only inside the functions.
"""

import json
import shutil
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from harness.errors import DataError, MissingExtra, UsageError

RECEIPT = "sightline_gguf.json"
"""In a converted checkpoint: which file it was made of."""

_INSTALL = "pip install 'gguf>=0.17' sentencepiece accelerate"


def load_gguf(
    path: str | Path,
    gguf_file: str | None = None,
    dtype: torch.dtype | str = torch.float32,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """Load a llama.cpp file as a dense causal language model with its tokenizer.

    Args:
        path: the file, a directory that holds it, or a hub name (then `gguf_file` says which).
        gguf_file: name of the file in the directory; needed where there are several.
        dtype: of the weights; "auto" is float32, in which dequantised values are exact.
        revision: of a hub name.

    Returns:
        The model (on the CPU, in evaluation mode, not marked as quantised) and the tokenizer.

    Raises:
        MissingExtra: the package `gguf` is not installed.
        DataError: no such file, not a GGUF file, one that transformers cannot
            read, or one that lacks weights.
    """
    if find_spec("gguf") is None:
        raise MissingExtra("gguf", "a llama.cpp file", _INSTALL)
    folder, name = _locate(path, gguf_file)
    import transformers

    where = {"gguf_file": name, "revision": revision}
    # Releases without GgufConfig load plain weights by themselves.
    config = getattr(transformers, "GgufConfig", None)
    plain = {"quantization_config": config(dequantize=True)} if config else {}
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if dtype == "auto" else dtype,
            output_loading_info=True,
            **where,
            **plain,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **where)
    except ImportError as error:
        raise MissingExtra(error.name or "gguf", f"the file {name}", _INSTALL) from error
    # The parser believes the header, so a damaged file shows as nearly any type of error.
    except Exception as error:
        raise DataError(
            f"{name} in {folder}: transformers cannot read it as a language model "
            f"({type(error).__name__}: {error}); is it complete, and a kind that it knows?"
        ) from error
    if info["missing_keys"]:
        some = ", ".join(sorted(info["missing_keys"])[:3])
        raise DataError(
            f"{name} in {folder} lacks {len(info['missing_keys'])} weights ({some}, ...)"
        )
    if getattr(model, "hf_quantizer", None) is not None:
        raise UsageError(
            f"transformers {transformers.__version__} keeps the weights of {name} quantised; "
            "a newer release loads them as plain numbers"
        )
    return model.eval(), tokenizer


def dense_checkpoint(
    gguf_path: str | Path, out_dir: str | Path, dtype: torch.dtype = torch.float32
) -> Path:
    """Write the llama.cpp file as an ordinary checkpoint directory, once; return the directory.

    The directory appears complete or not at all: it is written under another name beside its
    place and then renamed. One that was made of the same bytes in the same dtype is left as it is.

    Raises:
        DataError: the file cannot be read, or `out_dir` holds something else.
        MissingExtra: the package `gguf` is not installed.
    """
    source, target = Path(gguf_path), Path(out_dir)
    folder, name = _locate(source, None)
    source = Path(folder) / name
    with source.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    receipt = {"file": source.name, "sha256": digest, "dtype": str(dtype).removeprefix("torch.")}
    if _finished(target, receipt):
        return target
    model, tokenizer = load_gguf(source, dtype=dtype)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{uuid4().hex}.partial"
    partial.mkdir()
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / RECEIPT).write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
        try:
            partial.rename(target)
        except OSError:
            # Another process was faster; its directory is as good if it is of the same file.
            if not _finished(target, receipt):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _finished(target: Path, receipt: dict[str, str]) -> bool:
    """Say whether `target` was made so; False when it is free, DataError when it is taken."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = json.loads((target / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = "no receipt of a conversion"
    if found == receipt:
        return True
    raise DataError(
        f"{target} is not free: wanted a checkpoint of {receipt}, found {found}; "
        "name another directory or remove it"
    )


def _locate(path: str | Path, gguf_file: str | None) -> tuple[str, str]:
    """Return the folder (or hub name) and the file name in it."""
    place = Path(path)
    if place.is_file():
        folder, name = str(place.parent), place.name
    elif place.is_dir():
        names = sorted(file.name for file in place.glob("*.gguf"))
        if gguf_file is None and len(names) != 1:
            raise DataError(f"{path}: name one file with gguf_file; it holds {names or 'no .gguf'}")
        folder, name = str(place), gguf_file or names[0]
        if not (place / name).is_file():
            raise DataError(f"{path} has no file {name}; it holds {names or 'no .gguf'}")
    elif gguf_file is None or str(path).count("/") > 1:
        raise DataError(f"{path}: no such file or directory")
    else:
        return str(path), gguf_file
    with (Path(folder) / name).open("rb") as file:
        if file.read(4) != b"GGUF":
            raise DataError(f"{Path(folder) / name} is not a llama.cpp file (no GGUF mark)")
    return folder, name
