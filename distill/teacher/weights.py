"""Identify models and adapters: by a hash of their files, or by a commit on the Hugging Face Hub."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from xxhash import xxh3_128

from curate.distill.teacher.protocol import ModelFacts
from curate.errors import RecipeError, TeacherError

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
OTHER_FILES = (".json", ".jinja", ".model", ".txt")  # tokenizer, chat template, configuration
READ_BYTES = 1 << 22
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # values of vLLM's --max-lora-rank


def folder_content(folder: Path, field: str) -> str:
    """Hash the names and bytes of a model's files.

    Errors: RecipeError naming `field` where there are no weights or they cannot be read.
    """
    content = xxh3_128()
    for path in _model_files(folder, field):
        content.update(f"{path.name}\0{os.stat(path).st_size}\0".encode())
        try:
            with path.open("rb") as file:
                for block in iter(partial(file.read, READ_BYTES), b""):
                    content.update(block)
        except OSError as error:
            raise RecipeError(f"{field}: {path}: cannot be read: {error.strerror}") from None
    return str(content.hexdigest())


def _model_files(folder: Path, field: str) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS + OTHER_FILES and path.is_file())
    if not any(path.suffix in WEIGHTS for path in files):
        raise RecipeError(f"{field}: {folder}: no weights in this folder (wanted: *.safetensors)")
    return files


def adapter_contents(lora: Mapping[str, str], field: str) -> dict[str, str]:
    """Hash the files of adapters; by name.

    Errors: RecipeError for a path that is not a folder with weights.
    """
    check_adapters(lora, field)
    return {name: folder_content(Path(path), f"{field}.lora.{name}") for name, path in lora.items()}


def check_adapters(lora: Mapping[str, str], field: str) -> None:
    """Check that all adapters are folders with a configuration and safe weights.

    Errors: RecipeError.
    """
    for name, path in lora.items():
        if not (Path(path) / "adapter_config.json").is_file():
            raise RecipeError(f"{field}.lora.{name}: {path}: no folder with an adapter_config.json")
        if not (Path(path) / "adapter_model.safetensors").is_file():
            raise RecipeError(
                f"{field}.lora.{name}: {path}: no adapter_model.safetensors; pickled weights (adapter_model.bin) can "
                "run programs, and are not loaded: save them as safetensors"
            )


def max_lora_rank(lora: Mapping[str, str]) -> int:
    """The value of --max-lora-rank that adapters need.

    Errors: TeacherError for a rank that vLLM cannot serve.
    """
    configs = [json.loads((Path(path) / "adapter_config.json").read_text("utf-8")) for path in lora.values()]
    return served_rank(max(int(config["r"]) for config in configs))


def served_rank(rank: int) -> int:
    """The smallest value of --max-lora-rank that admits a rank.

    Errors: TeacherError for a rank that vLLM cannot serve.
    """
    fitting = [limit for limit in LORA_RANKS if limit >= rank]
    if not fitting:
        raise TeacherError(f"teacher: an adapter has rank {rank}, and vLLM serves up to {LORA_RANKS[-1]}")
    return fitting[0]


def find_model(model: str, revision: str | None, field: str) -> Path | None:
    """The folder of a model; None for a model on the Hub.

    Errors: RecipeError for a folder that does not exist or has no weights.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise RecipeError(f"{field}.revision: {model} is a folder, which has none; leave revision out")
        _model_files(folder, field)
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise RecipeError(f"{field}: {model}: no such folder")
    return None


def model_facts(model: str, revision: str | None, field: str) -> ModelFacts:
    """Name and content hash of a model in a folder; name and commit (once downloaded) of a model on the Hub.

    Errors: RecipeError for a folder without a model.
    """
    if (folder := find_model(model, revision, field)) is not None:
        return {"model": folder.resolve().name, "content_xxh3_128": folder_content(folder, field)}
    return {"model": model, "revision": _commit(model, revision) or revision}


def _commit(model: str, revision: str | None) -> str | None:
    """The commit of a model in the local cache of the Hub; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:
        raise RecipeError(f"{model!r} is neither a folder nor a name on the Hugging Face Hub") from None
    return Path(path).parent.name if isinstance(path, str) else None
