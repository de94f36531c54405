"""A folder for TRL: Parquet with the columns that its trainers read, and preference pairs where a run has them."""

from pathlib import Path

from curate.files import committed
from curate.manifests.dpo import runs_with_pairs, write_pairs
from curate.manifests.formats import Exported, Format, Piece, Written
from curate.manifests.hf import mixed_code, write_parquet
from curate.manifests.seen import MIXTURE, seen


def write(piece: Piece) -> Written:
    """One Parquet file."""
    return write_parquet(piece)


def finish(exported: Exported) -> list[Path]:
    """A README of a few lines, and dpo/train.parquet."""
    files = [exported.folder / "README.md"]
    runs = runs_with_pairs(exported)
    if runs:
        files.append(exported.folder / "dpo" / "train.parquet")
        write_pairs(runs, files[-1])
    with committed(files[0]) as aside:
        aside.write_text(_readme(exported, bool(runs)), "utf-8")
    return files


def _readme(exported: Exported, pairs: bool) -> str:
    """How each part is read, from this folder."""
    if len(seen(exported)) > 1:
        code = mixed_code(exported)
    else:
        code = 'from datasets import load_dataset\n\ntrain = load_dataset("parquet", data_files="data/train-*.parquet", split="train")'  # noqa: E501
    lines = ["For `SFTTrainer(train_dataset=train)` of TRL, started in this folder:", "", "```python", code, "```"]
    if pairs:
        lines += ["", 'For `DPOTrainer`: `load_dataset("parquet", data_files="dpo/train.parquet", split="train")`']
    return "\n".join(lines) + "\n"


def load(folder: Path) -> str:
    """How it is read."""
    if (folder / MIXTURE).exists():
        return f"the code in {folder}/README.md, started in its folder"
    return f'datasets.load_dataset("parquet", data_files="{folder}/data/train-*.parquet", split="train")'


FORMAT = Format("trl", "TRL's SFTTrainer and DPOTrainer", write, finish, load, chats=True)
