"""Which tensors really changed: checksums of every tensor before and after training.

A tensor that changed though it was not declared, or one that was declared and did not, is named.
May import torch at the top.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch


@dataclass(frozen=True)
class Manifest:
    """Checksums before and after, by tensor name, and the declared set."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    declared: frozenset[str]

    @property
    def changed(self) -> set[str]:
        """Return what changed, appeared or vanished."""
        names = set(self.before) | set(self.after)
        return {name for name in names if self.before.get(name) != self.after.get(name)}

    @property
    def undeclared(self) -> list[str]:
        """Return what changed although it was not to be trained."""
        return sorted(self.changed - self.declared)

    @property
    def unchanged(self) -> list[str]:
        """Return what was to be trained and did not change."""
        return sorted(self.declared - self.changed)

    def describe(self) -> dict[str, Any]:
        """Return the manifest for the run's record."""
        return {
            "declared": len(self.declared),
            "changed": len(self.changed),
            "undeclared_changes": self.undeclared,
            "declared_unchanged": self.unchanged,
            "tensors": {
                name: {
                    "declared": name in self.declared,
                    "before": self.before.get(name),
                    "after": self.after.get(name),
                }
                for name in sorted(set(self.before) | set(self.after))
            },
        }


def checksums(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, str]:
    """Return a checksum of each tensor: of its type, shape and bytes."""
    return {name: checksum(tensor) for name, tensor in tensors}


def checksum(tensor: torch.Tensor) -> str:
    """Return a checksum of type, shape and bytes, 16 hex digits."""
    plain = tensor.detach().to("cpu").contiguous()
    digest = sha256(f"{plain.dtype} {tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return digest.hexdigest()[:16]
