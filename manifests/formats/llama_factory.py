"""A folder for LLaMA-Factory: Parquet, `dataset_info.json`, and the lines of a training's YAML.

LLaMA-Factory reads every file of a folder, in the order in which the system lists them: so each split of each source
has a separate folder.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece
from curate.manifests.export.sources import MESSAGES, TEXT, TRAIN, VALIDATION
from curate.manifests.export.training_view import SourceView, passes, source_views
from curate.manifests.formats.dpo import write_pairs
from curate.manifests.formats.hf import write_parquet
from curate.storage.files import committed, write_json

PAIRS = "dpo.pairs"  # names of a mixture have no dot, so no source has this name
TEXTS = {"columns": {"prompt": TEXT}}
CHATS = {
    "formatting": "sharegpt",
    "columns": {"messages": MESSAGES},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "function_tag": "function_call",
        "system_tag": "system",
    },
}
RANKED = {"ranking": True, "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}}


def write(piece: Piece) -> WrittenPiece:
    """One Parquet file, in the folder of its split."""
    stem = Path(piece.stem)
    return write_parquet(replace(piece, stem=str(stem.parent / piece.split / stem.name)))


def finish(exported: Export) -> list[Path]:
    """The datasets, and the lines of a training that name them."""
    info, train = exported.folder / "dataset_info.json", exported.folder / "train.yaml"
    form = CHATS if exported.sources[0].messages else TEXTS
    datasets: dict[str, Mapping[str, object]] = {}
    for source in source_views(exported):
        entry = {"file_name": _folder(exported, TRAIN, source.name), **form}
        for name, samples in _entries(source):
            datasets[name] = entry if samples is None else entry | {"num_samples": samples}
    held_out = [source.name for source in exported.sources if exported.of(VALIDATION, source.name)]
    for name in held_out:
        datasets[f"{name}_validation"] = {"file_name": _folder(exported, VALIDATION, name), **form}
    with committed(train) as aside:
        aside.write_text(_lines(exported, held_out), "utf-8")
    pairs = write_pairs(exported, exported.folder / "dpo")
    for split, path in pairs.items():
        name = PAIRS if split == TRAIN else f"{PAIRS}_{split}"
        datasets[name] = {"file_name": path.relative_to(exported.folder).as_posix(), **RANKED}
    write_json(info, datasets)
    return [info, train, *pairs.values()]


def _folder(exported: Export, split: str, source: str) -> str:
    """The folder of a split of a source."""
    return str(Path(exported.of(split, source)[0].files[0].path).parent)


def _entries(source: SourceView) -> list[tuple[str, int | None]]:
    """The datasets of one epoch over a source, each by its name and number of documents (None: all of them).

    A source with more than one pass, or a partial one, is named more than once: so no document is read more than one
    time more often than another, which drawing by probabilities does not guarantee.
    """
    complete, part = passes(source.epochs)
    names: list[tuple[str, int | None]] = [
        (source.name if k == 0 else f"{source.name}.{k + 1}", None) for k in range(complete)
    ]
    samples = round(part * source.documents)
    return [*names, *([(f"{source.name}.part", samples)] if samples else [])]


def _lines(exported: Export, held_out: list[str]) -> str:
    """The lines for the YAML of a training."""
    sources, chats = source_views(exported), exported.sources[0].messages
    names = ",".join(name for source in sources for name, _ in _entries(source))
    lines = [
        "# Lines for the YAML of `llamafactory-cli train`, which is started in this folder.",
        f"stage: {'sft' if chats else 'pt'}",
        "dataset_dir: .",
        f"dataset: {names}",
    ]
    if held_out:
        lines.append("eval_dataset: " + ",".join(f"{name}_validation" for name in held_out))
    lines += ["mix_strategy: concat", "num_train_epochs: 1  # names and num_samples make up the epochs of each source"]
    if len(sources) > 1:
        lines += [
            "# While streaming, num_samples does not count; these draw documents in the same shares, up to max_steps:",
            "# streaming: true",
            f"# dataset: {','.join(_entries(source)[0][0] for source in sources)}",
            "# mix_strategy: interleave_over",
            f"# interleave_probs: {','.join(f'{source.document_weight:.6f}' for source in sources)}",
        ]
    return "\n".join(lines) + "\n"


def load(folder: Path) -> str:
    """How it is read."""
    return f"cd {quote(str(folder))} && llamafactory-cli train your.yaml  # with the lines of train.yaml"


FORMAT = Format("llama-factory", "LLaMA-Factory", write, finish, load, chats=True, pairs=True)
