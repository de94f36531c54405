"""A folder for Axolotl: Parquet, and the lines of its YAML."""

import math
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from curate.manifests.export.format import Exported, Format, Piece, Written
from curate.manifests.export.sources import MESSAGES, TEXT, TRAIN, VALIDATION
from curate.manifests.export.training_view import nearest_shards, passes, seen, tokens_seen
from curate.manifests.formats.hf import data_files, write_parquet
from curate.storage.files import committed

MOST_SHARDS = 20  # a part of a source is so many of at most so many shards
SEQUENCE, ACCUMULATED = 4096, 8  # tokens, and sequences in a step, of a streamed training on one GPU
WHERE = "# Lines for the YAML of `axolotl train`, which is started in this folder.\n"


def write(piece: Piece) -> Written:
    """One Parquet file."""
    return write_parquet(piece)


def finish(exported: Exported) -> list[Path]:
    """The lines that name the data, and for one run of text those that stream it."""
    files = {"axolotl.yaml": _whole(exported)}
    if len(exported.sources) == 1 and not exported.sources[0].messages:
        files["axolotl-streaming.yaml"] = _streamed(exported)
    for name, text in files.items():
        with committed(exported.folder / name) as aside:
            aside.write_text(WHERE + text, "utf-8")
    return [exported.folder / name for name in files]


def _whole(exported: Exported) -> str:
    """Sources that are prepared before a training, each as often as it is seen.

    The part of a source that a last pass sees is some of several shards, which Axolotl draws at random.
    """
    datasets = []
    for source in seen(exported):
        entry = _entry(exported, TRAIN, source.name)
        whole, part = passes(source.epochs)
        taken, shards = nearest_shards(part, MOST_SHARDS)
        if shards == 1:  # the part is nearly nothing, or nearly all
            whole, taken = whole + taken, 0
        datasets += [entry] * whole
        datasets += [entry | {"shards": shards, "shards_idx": k} for k in range(taken)]
    held_out = [s.name for s in exported.sources if exported.of(VALIDATION, s.name)]
    lines: dict[str, Any] = {"datasets": datasets}
    if held_out:
        lines["test_datasets"] = [_entry(exported, VALIDATION, name) for name in held_out]
    return _dumped(lines | {"num_epochs": 1})


def _entry(exported: Exported, split: str, source: str) -> dict[str, Any]:
    """A split of a source as Axolotl names it; the files are looked for from where it is started."""
    form = (
        {"type": "chat_template", "field_messages": MESSAGES}
        if exported.sources[0].messages
        else {"type": "completion", "field": TEXT}
    )
    files = data_files(exported, split, source)
    return {"path": "data", "ds_type": "parquet", "data_files": files, "split": "train", **form}


def _streamed(exported: Exported) -> str:
    """One source that is read while a training goes on, which ends after max_steps."""
    [source] = seen(exported)
    steps = math.ceil(tokens_seen([source]) / (SEQUENCE * ACCUMULATED))
    lines = {
        "pretraining_dataset": [
            {"path": "parquet", "data_files": data_files(exported, TRAIN, source.name), "split": "train",
             "type": "pretrain", "text_column": TEXT}
        ],
        "sequence_len": SEQUENCE,
        "sample_packing": True,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": ACCUMULATED,
        "max_steps": steps,
    }  # fmt: skip
    about = f"# {tokens_seen([source]):,} tokens by n_tokens; divide max_steps by the number of GPUs.\n"
    return about + _dumped(lines)


def _dumped(lines: dict[str, Any]) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - PyYAML's signature
            return True

    return yaml.dump(lines, Dumper=Plain, sort_keys=False, default_flow_style=None, width=1000)


def load(folder: Path) -> str:
    """How it is read."""
    return f"cd {quote(str(folder))} && axolotl train your.yaml  # with the lines of axolotl.yaml"


FORMAT = Format("axolotl", "Axolotl", write, finish, load, chats=True)
