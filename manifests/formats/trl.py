"""A folder for TRL: Parquet with the columns that its trainers read, and preference pairs where a run has them."""

from pathlib import Path

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.training_view import MIXTURE
from curate.manifests.formats.dpo import write_pairs
from curate.manifests.formats.hf import mixed_code, write_parquet
from curate.storage.files import committed


def write(piece: Piece) -> WrittenPiece:
    """One Parquet file."""
    return write_parquet(piece)


def finish(exported: Export) -> list[Path]:
    """A README of a few lines, and the preference pairs by split."""
    readme, pairs = exported.folder / "README.md", write_pairs(exported, exported.folder / "dpo")
    with committed(readme) as aside:
        aside.write_text(_readme(exported, list(pairs)), "utf-8")
    return [readme, *pairs.values()]


def _readme(exported: Export, pairs: list[str]) -> str:
    """How each part is read from this folder; `pairs` are the splits with preference pairs."""
    if len(exported.sources) > 1:
        code = mixed_code(exported)
    else:
        code = 'from datasets import load_dataset\n\ntrain = load_dataset("parquet", data_files="data/train-*.parquet", split="train")'  # noqa: E501
    lines = ["For `SFTTrainer(train_dataset=train)` of TRL, started in this folder:", "", "```python", code, "```"]
    if pairs:
        lines += ["", "For `DPOTrainer`:", ""]
        lines += [f'- `load_dataset("parquet", data_files="dpo/{split}.parquet", split="train")`' for split in pairs]
    return "\n".join(lines) + "\n"


def load(folder: Path) -> str:
    """How it is read."""
    if (folder / MIXTURE).exists():
        return f"the code in {folder}/README.md, started in its folder"
    files = literal(folder / "data/train-*.parquet")
    return f'datasets.load_dataset("parquet", data_files={files}, split="train")'


FORMAT = Format("trl", "TRL's SFTTrainer and DPOTrainer", write, finish, load, chats=True, pairs=True)
