"""MME folders for the contract test."""

from pathlib import Path

from vqa_data import write_mme


def write(folder: Path) -> dict[str, Path]:
    """Write an official-format folder; returns variant to data ("": every other variant)."""
    return {"": write_mme(folder)}
