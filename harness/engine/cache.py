"""A key-value cache with room: steps write in place instead of copying what is there.

transformers' dynamic cache concatenates, which copies the whole cache at every decode step. May
import torch; transformers inside the function.
"""

from functools import cache
from typing import Any

import torch


def with_room(model: Any, tokens: int) -> Any:
    """Return an empty cache for `model` with room for `tokens` (it grows when they run out).

    Layers with an attention window get room for everything too: transformers' own would forget
    the root of a row, and no path of a row is longer than the window. Other special layers stay.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    made = DynamicCache(config=model.config)
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    if made.layers and all(type(layer) in plain for layer in made.layers):
        made.layers = [_layer_class()(tokens) for _ in made.layers]
    return made


@cache
def _layer_class() -> Any:
    from transformers.cache_utils import DynamicLayer

    class RoomLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types for mypy
        """One layer: keys and values are views of the filled part of two larger tensors."""

        is_initialized: bool

        def __init__(self, room: int) -> None:
            super().__init__()
            self.room = room
            self.length = 0

        def update(
            self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any
        ) -> tuple[Any, Any]:
            """Write the new states behind the old ones; return all of them."""
            if not self.is_initialized:
                self.dtype, self.device = key_states.dtype, key_states.device
                self.store = [self._new(s, self.room) for s in (key_states, value_states)]
                self.is_initialized = True
            end = self.length + key_states.shape[-2]
            if end > self.store[0].shape[-2]:
                self._grow(end)
            for store, new in zip(self.store, (key_states, value_states), strict=True):
                store[:, :, self.length : end] = new
            self.length = end
            self.keys, self.values = (store[:, :, :end] for store in self.store)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            """Keep only some rows."""
            self.store = [store[indices] for store in self.store]
            self.keys, self.values = (store[:, :, : self.length] for store in self.store)

        def _new(self, like: Any, room: int) -> Any:
            return like.new_empty(*like.shape[:-2], max(room, like.shape[-2]), like.shape[-1])

        def _grow(self, need: int) -> None:
            old, self.store = self.store, [self._new(s, need + self.room) for s in self.store]
            for new, store in zip(self.store, old, strict=True):
                new[:, :, : self.length] = store[:, :, : self.length]

    return RoomLayer


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out (PyTorch has several ways to say it)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )
