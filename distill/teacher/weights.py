"""What identifies a model: its files' hash, or its commit on the Hugging Face Hub."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from xxhash import xxh3_128

from curate.errors import RecipeError, TeacherError

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
BESIDE = (".json", ".jinja", ".model", ".txt")  # what the tokenizer, the chat template and the configuration are in
READ_BYTES = 1 << 22
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has room for


def folder_content(folder: Path, field: str) -> str:
    """Hash of the names and bytes of a model's files.

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
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS + BESIDE and path.is_file())
    if not any(path.suffix in WEIGHTS for path in files):
        raise RecipeError(f"{field}: {folder}: no weights in this folder (wanted: *.safetensors)")
    return files


def adapter_contents(lora: Mapping[str, str], field: str) -> dict[str, str]:
    """Hashes of adapters by their names.

    Errors: RecipeError for one that is no folder with weights.
    """
    check_adapters(lora, field)
    return {name: folder_content(Path(path), f"{field}.lora.{name}") for name, path in lora.items()}


def check_adapters(lora: Mapping[str, str], field: str) -> None:
    """Refuse what is no adapter's folder.

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


def lora_rank(lora: Mapping[str, str]) -> int:
    """The room that adapters need: for the highest of their ranks.

    Errors: TeacherError for a rank that vLLM cannot serve.
    """
    configs = [json.loads((Path(path) / "adapter_config.json").read_text("utf-8")) for path in lora.values()]
    return room_for(max(int(config["r"]) for config in configs))


def room_for(rank: int) -> int:
    """The least of the ranks that vLLM has room for, of those that hold one.

    Errors: TeacherError for a rank that vLLM cannot serve.
    """
    fitting = [room for room in LORA_RANKS if room >= rank]
    if not fitting:
        raise TeacherError(f"teacher: an adapter has rank {rank}, and vLLM serves up to {LORA_RANKS[-1]}")
    return fitting[0]


def find_model(model: str, revision: str | None, field: str) -> Path | None:
    """The folder of a model; None for one on the Hub.

    Errors: RecipeError for a folder that is not there, or holds no weights.
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


def model_facts(model: str, revision: str | None, field: str) -> dict[str, Any]:
    """Name and content of a model in a folder; of one on the Hub its name and commit, where it was loaded before.

    Errors: RecipeError for a folder that holds no model.
    """
    if (folder := find_model(model, revision, field)) is not None:
        return {"model": folder.resolve().name, "content_xxh3_128": folder_content(folder, field)}
    return {"model": model, "revision": _commit(model, revision) or revision}


def _commit(model: str, revision: str | None) -> str | None:
    """The commit of a model that the Hub's cache on this machine holds."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:
        raise RecipeError(f"{model!r} is neither a folder nor a name on the Hugging Face Hub") from None
    return Path(found).parent.name if isinstance(found, str) else None
