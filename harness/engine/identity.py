"""What a checkpoint is, as facts for a record: two runs are compared only where these agree.

Imports only the standard library.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

PROBE = 4096
"""Bytes read at the start and in the middle of each tensor."""
SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def fingerprint(place: str | Path) -> str | None:
    """Hash the weights in a local directory or file; None when `place` is not one.

    Of each file: its name and size; of a safetensors file also the whole header and 8 KiB of every
    tensor; of others 256 evenly spread blocks. Any training step changes it, in a second even for
    100 GB. It detects mistakes, not malice: a few altered bytes may lie between the probes.
    """
    root = Path(place)
    if not place or not root.exists():
        return None
    files = [root] if root.is_file() else sorted(f for f in root.iterdir() if f.suffix in SUFFIXES)
    digest = sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            offsets = _spread(size)
            if file.suffix == ".safetensors":
                length = int.from_bytes(stream.read(8), "little")
                header = stream.read(min(length, size))
                digest.update(header)
                offsets = _tensors(header, 8 + length) or offsets
            for offset in offsets:
                stream.seek(offset)
                digest.update(stream.read(PROBE))
    return digest.hexdigest()


def _spread(size: int) -> list[int]:
    return [size * i // 256 for i in range(256)]


def _tensors(header: bytes, base: int) -> list[int]:
    """Return where to read in each tensor of a safetensors file; nothing if it is not one."""
    try:
        entries = json.loads(header)
        spans = [e["data_offsets"] for name, e in entries.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError):
        return []
    return [base + at for start, end in sorted(spans) for at in (start, (start + end) // 2)]


def of_processor(processor: Any) -> Mapping[str, Any]:
    """Hash what turns images and text into model inputs."""
    images = getattr(processor, "image_processor", None)
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or getattr(
        tokenizer, "chat_template", None
    )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab())
    return {
        "processor": type(processor).__name__,
        "image_processor": type(images).__name__ if images is not None else None,
        "image_processor_sha256": _hash(images.to_dict()) if images is not None else None,
        "tokenizer_sha256": sha256(words.encode()).hexdigest(),
        "chat_template_sha256": _hash(template) if template else None,
    }


def _hash(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
