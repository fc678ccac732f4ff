"""POPE files for the contract test."""

from pathlib import Path

from small_data import write_pope


def write(folder: Path) -> dict[str, Path]:
    """Write an official-format folder; returns variant to data ("" is every other one)."""
    return {"": write_pope(folder)}
