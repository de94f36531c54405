"""Arrays and what is said about them as one file, which knows a hash of its content."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import InputError
from curate.storage.files import committed

Arrays = Mapping[str, npt.NDArray[Any]]
AGAIN = "make it again"
MOST_BYTES = 4 << 30  # of all arrays: a few megabytes of zeros may unpack to gigabytes


def save_arrays(path: Path, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Commit arrays, and what is said about them as JSON: a zip of .npy files, readable with numpy.load.

    The same arrays give the same bytes.
    """
    text = json.dumps({**about, "hash": hash_of(arrays, about)}, sort_keys=True)
    with committed(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, about=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: Path, what: str, version: Mapping[str, Any]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and what is said about them, which must agree with `version`.

    Errors: InputError for what is no such file, for another version, and for damage; `what` it should be is named.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > MOST_BYTES:
                raise ValueError("it unpacks to more than any model has")
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: not {what}, or damaged; {AGAIN}") from None
    if any(about.get(name) != value for name, value in version.items()):
        raise InputError(f"{path}: {what} of another version of curate; {AGAIN}")
    if about.pop("hash", None) != hash_of(arrays, about):
        raise InputError(f"{path}: damaged: its content does not fit its hash; {AGAIN}")
    return arrays, about


def hash_of(arrays: Arrays, about: Mapping[str, Any]) -> str:
    """Hex SHA-256 of arrays and what is said about them."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return digest.hexdigest()
