"""The files of a data set as cards describe them: those of a run, or of a folder that was made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of the data; its name begins with its split, as in `data/validation-00000-of-00001.parquet`."""

    path: str  # within the folder that is described
    documents: int
    bytes: int
    sha256: str

    @property
    def split(self) -> str:
        """The split that its name tells."""
        name = PurePosixPath(self.path).name.split("-")[0]
        return name if name in SPLITS else SPLITS[0]


def files_of(manifest: Mapping[str, Any]) -> list[DataFile]:
    """The files that a run has written itself."""
    return [DataFile(one["path"], one["documents"], one["bytes"], one["sha256"]) for one in manifest["shards"]]


def splits_of(files: Sequence[DataFile]) -> dict[str, tuple[list[str], list[DataFile]]]:
    """For each split the globs, one for each folder, and the files that they stand for."""
    found: dict[str, list[DataFile]] = {}
    for file in sorted(files, key=lambda file: (SPLITS.index(file.split), file.path)):
        found.setdefault(file.split, []).append(file)
    return {
        split: (
            list(dict.fromkeys((PurePosixPath(file.path).parent / f"{split}-*.parquet").as_posix() for file in own)),
            own,
        )
        for split, own in found.items()
    }


def licenses_of(manifest: Mapping[str, Any]) -> list[str]:
    """The licences of what is kept, those of most tokens first; `unknown` among them where it is so of anything."""
    tokens: dict[str, int] = {}
    for row in manifest["licenses"]:
        tokens[row["license"]] = tokens.get(row["license"], 0) + row["tokens"]
    return sorted(tokens, key=lambda name: (-tokens[name], name))
