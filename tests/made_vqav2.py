"""VQAv2 files for the contract test."""

from pathlib import Path

from vqa_data import write_vqav2


def write(folder: Path) -> dict[str, Path]:
    """Write an official-format folder; returns variant to data ("": every other variant)."""
    return {"": write_vqav2(folder)}
