"""Refuse to start when another distribution shadows one of our generic package names."""

from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parent.parent
_SIBLINGS = ("tasks", "trainers", "judges", "reports", "leaderboards")


def check_siblings() -> None:
    """Raise ImportError naming the first sibling package found somewhere else than beside us."""
    for name in _SIBLINGS:
        spec = find_spec(name)
        where = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if where != _HOME / name:
            raise ImportError(
                f"'{name}' was found at {where}, not at {_HOME / name}. Another installed package "
                f"uses the same name: uninstall it, or run `python -m harness` from {_HOME}."
            )
