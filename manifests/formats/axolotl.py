"""A folder for Axolotl: Parquet, and the lines of its YAML."""

import math
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece
from curate.manifests.export.sources import MESSAGES, TEXT, TRAIN, VALIDATION
from curate.manifests.export.training_view import nearest_shards, passes, source_views, tokens_seen
from curate.manifests.formats.hf import data_files, write_parquet
from curate.storage.files import committed

MOST_SHARDS = 20  # of which a partial pass over a source reads some
SEQUENCE, ACCUMULATED = 4096, 8  # tokens, and sequences per step, of a streamed training on one GPU
HEAD = "# Lines for the YAML of `axolotl train`, which is started in this folder.\n"


def write(piece: Piece) -> WrittenPiece:
    """One Parquet file."""
    return write_parquet(piece)


def finish(exported: Export) -> list[Path]:
    """The lines that name the data; for one run of text, also those that stream it."""
    files = {"axolotl.yaml": _prepared(exported)}
    if len(exported.sources) == 1 and not exported.sources[0].messages:
        files["axolotl-streaming.yaml"] = _streamed(exported)
    for name, text in files.items():
        with committed(exported.folder / name) as aside:
            aside.write_text(HEAD + text, "utf-8")
    return [exported.folder / name for name in files]


def _prepared(exported: Export) -> str:
    """Sources that are prepared before a training, each listed once for each pass.

    A last, partial pass reads some of several shards, which Axolotl draws at random.
    """
    datasets: list[dict[str, object]] = []
    for source in source_views(exported):
        entry = _entry(exported, TRAIN, source.name)
        complete, part = passes(source.epochs)
        read, shards = nearest_shards(part, MOST_SHARDS)
        if shards == 1:  # the part is nearly nothing, or nearly all
            complete, read = complete + read, 0
        datasets += [entry] * complete
        datasets += [entry | {"shards": shards, "shards_idx": k} for k in range(read)]
    held_out = [s.name for s in exported.sources if exported.of(VALIDATION, s.name)]
    lines: dict[str, object] = {"datasets": datasets}
    if held_out:
        lines["test_datasets"] = [_entry(exported, VALIDATION, name) for name in held_out]
    return _yaml(lines | {"num_epochs": 1})


def _entry(exported: Export, split: str, source: str) -> dict[str, object]:
    """A split of a source as Axolotl names it; paths are relative to the working directory."""
    form = (
        {"type": "chat_template", "field_messages": MESSAGES}
        if exported.sources[0].messages
        else {"type": "completion", "field": TEXT}
    )
    files = data_files(exported, split, source)
    return {"path": "data", "ds_type": "parquet", "data_files": files, "split": "train", **form}


def _streamed(exported: Export) -> str:
    """One source that is read during the training, which ends after max_steps."""
    [source] = source_views(exported)
    steps = math.ceil(tokens_seen([source]) / (SEQUENCE * ACCUMULATED))
    dataset = {
        "path": "parquet",
        "data_files": data_files(exported, TRAIN, source.name),
        "split": "train",
        "type": "pretrain",
        "text_column": TEXT,
    }
    lines = {
        "pretraining_dataset": [dataset],
        "sequence_len": SEQUENCE,
        "sample_packing": True,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": ACCUMULATED,
        "max_steps": steps,
    }
    about = f"# {tokens_seen([source]):,} tokens by n_tokens; divide max_steps by the number of GPUs.\n"
    return about + _yaml(lines)


def _yaml(lines: Mapping[str, object]) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - PyYAML's signature
            return True

    return yaml.dump(lines, Dumper=Plain, sort_keys=False, default_flow_style=None, width=1000)


def load(folder: Path) -> str:
    """How it is read."""
    return f"cd {quote(str(folder))} && axolotl train your.yaml  # with the lines of axolotl.yaml"


FORMAT = Format("axolotl", "Axolotl", write, finish, load, chats=True)
