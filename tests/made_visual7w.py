"""Files of visual7w for the contract test."""

from pathlib import Path

from vqa_data import write_visual7w


def write(folder: Path) -> dict[str, Path]:
    """Write an official-format folder; returns variant to data ("": every other variant)."""
    return {"": write_visual7w(folder)}
