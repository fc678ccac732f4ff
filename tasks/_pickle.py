"""Reading pickles that strangers made: plain containers, texts and numbers, nothing else.

A pickle may name any class or function and have it called while it is read. Here every name is
refused, so that nothing can run. Used for the official `refs(*).p` of RefCOCO. Imports the standard
library and harness.errors.
"""

import pickle
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import DataError


class _Plain(pickle.Unpickler):
    """Lists, dicts, tuples, sets, texts, bytes and numbers need no class to be looked up."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _Refused(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused(f"it asks for the outside object {pid!r:.80}")


class _Refused(Exception):
    """What a data file has no business to hold."""


def read_pickle(path: Path) -> Any:
    """Return what a pickle of plain data holds; text of Python 2 is read byte by byte (Latin-1).

    Raises DataError naming the class where the file asks for one, and where it is damaged.
    """
    try:
        with path.open("rb") as file:
            return _Plain(file, encoding="latin-1").load()
    except _Refused as error:
        raise DataError(
            f"{path}: refused, {error}. An annotation file holds plain lists, dicts, texts and "
            "numbers; anything else could run code. Fetch the official file"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: a damaged pickle; it claims more than memory holds") from error
    except Exception as error:  # damaged pickles raise nearly anything
        kind = type(error).__name__
        raise DataError(f"{path}: not a pickle, or a damaged one ({kind}: {error})") from error
