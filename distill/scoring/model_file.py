"""Model files: named arrays and a JSON description, with a hash of the content."""

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
MAKE_AGAIN = "make it again"
MAX_BYTES = 4 << 30  # of all arrays: a few megabytes of zeros may unpack to gigabytes


def save_arrays(path: Path, arrays: Arrays, about: Mapping[str, object]) -> None:
    """Commit arrays and `about` as JSON: a zip of .npy files, readable by numpy.load.

    The same content gives the same bytes.
    """
    text = json.dumps({**about, "hash": hash_of(arrays, about)}, sort_keys=True)
    with committed(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, about=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def load_arrays(
    path: Path, kind: str, version: Mapping[str, object]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and the description of a file, which must contain `version`.

    Errors: InputError, which names the `kind`, for a file that is not one, is of another version, or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > MAX_BYTES:
                raise ValueError("it unpacks to more than any model has")
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path}: not {kind}, or damaged; {MAKE_AGAIN}") from None
    if any(about.get(name) != value for name, value in version.items()):
        raise InputError(f"{path}: {kind} of another version of curate; {MAKE_AGAIN}")
    if about.pop("hash", None) != hash_of(arrays, about):
        raise InputError(f"{path}: damaged: its content does not fit its hash; {MAKE_AGAIN}")
    return arrays, about


def hash_of(arrays: Arrays, about: Mapping[str, object]) -> str:
    """Hex SHA-256 of arrays and their description."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return digest.hexdigest()
