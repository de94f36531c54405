"""The data files that a card describes: those of a run, or of a folder made from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from curate.manifests.schema.model import Manifest

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
        """The split that the file's name begins with; `train` where it names none."""
        name = PurePosixPath(self.path).name.split("-")[0]
        return name if name in SPLITS else SPLITS[0]


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The files of a split, and globs that match them: one for each folder."""

    split: str
    globs: list[str]
    files: list[DataFile]


def files_of(manifest: Manifest) -> list[DataFile]:
    """The files that the run itself wrote."""
    return [DataFile(shard.path, shard.documents, shard.bytes, shard.sha256) for shard in manifest.shards]


def splits_of(files: Sequence[DataFile]) -> list[SplitFiles]:
    """The files by split, in the order of SPLITS."""
    by_split: dict[str, list[DataFile]] = {}
    for file in sorted(files, key=lambda file: (SPLITS.index(file.split), file.path)):
        by_split.setdefault(file.split, []).append(file)
    return [SplitFiles(split, _globs(split, members), members) for split, members in by_split.items()]


def _globs(split: str, files: Sequence[DataFile]) -> list[str]:
    parents = dict.fromkeys(PurePosixPath(file.path).parent for file in files)
    return [(parent / f"{split}-*.parquet").as_posix() for parent in parents]


def licenses_of(manifest: Manifest) -> list[str]:
    """The licences of what is kept, most tokens first; `unknown` is one of them where any licence is unknown."""
    tokens: dict[str, int] = {}
    for row in manifest.licenses:
        tokens[row.license] = tokens.get(row.license, 0) + row.tokens
    return sorted(tokens, key=lambda name: (-tokens[name], name))
