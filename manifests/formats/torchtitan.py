"""A folder for torchtitan: Parquet, and a module that registers it by the names of the sources."""

from pathlib import Path

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.sources import TRAIN
from curate.manifests.export.training_view import source_views
from curate.manifests.formats.hf import data_files, write_parquet
from curate.storage.files import committed

MODULE = "torchtitan_dataset.py"
CODE = '''"""The datasets of this folder, for torchtitan: with `dataloader=dataloader()` in a configuration."""

from pathlib import Path

from datasets import load_dataset
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import (
    DATASETS,
    HFDataSource,
    HuggingFaceTextDataLoader,
    InterleavedHuggingFaceTextDataLoader,
)

FILES = {files}
WEIGHTS = {weights}  # of tokens
STREAMING = False  # True: nothing is copied to the cache of `datasets`


def load(pattern):
    """The documents of some files of this folder, in order."""
    files = sorted(str(path) for path in Path(__file__).parent.glob(pattern))
    return load_dataset("parquet", data_files=files, split="train", streaming=STREAMING)


for name, pattern in FILES.items():
    DATASETS[name] = DatasetConfig(path=pattern, loader=load, sample_processor=lambda sample: sample["text"])


def dataloader(**options):
    """What trains on all sources, each in its share."""
    if len(WEIGHTS) == 1:
        return HuggingFaceTextDataLoader.Config(dataset=next(iter(WEIGHTS)), **options)
    sources = [HFDataSource(dataset=name, weight=weight) for name, weight in WEIGHTS.items()]
    return InterleavedHuggingFaceTextDataLoader.Config(sources=sources, **options)
'''


def write(piece: Piece) -> WrittenPiece:
    """One Parquet file."""
    return write_parquet(piece)


def finish(exported: Export) -> list[Path]:
    """The module, with names in lower case, as torchtitan looks them up."""
    files = {
        (s.name if split == TRAIN else f"{s.name}_{split}").lower(): data_files(exported, split, s.name)
        for split in exported.splits()
        for s in exported.sources
        if exported.of(split, s.name)
    }
    weights = {source.name.lower(): source.weight for source in source_views(exported)}
    path = exported.folder / MODULE
    with committed(path) as aside:
        aside.write_text(CODE.replace("{files}", _dict(files)).replace("{weights}", _dict(weights)), "utf-8")
    return [path]


def _dict(values: dict[str, str] | dict[str, float]) -> str:
    """A dict literal as ruff formats it."""
    return "{\n" + "".join(f"    {key!r}: {value!r},\n".replace("'", '"') for key, value in values.items()) + "}"


def load(folder: Path) -> str:
    """How it is read."""
    return f"sys.path.append({literal(folder)}); import torchtitan_dataset; torchtitan_dataset.dataloader()"


FORMAT = Format("torchtitan", "torchtitan", write, finish, load)
