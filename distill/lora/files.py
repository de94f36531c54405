"""The files of a LoRA adapter that is trained: its checkpoint, and what is left of a finished training.

A finished folder holds PEFT's `adapter_config.json` and `adapter_model.safetensors`, and `training.json`, which is
written last. Until then there is a checkpoint, so that a folder always tells whose it is and how far it has come.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from curate.errors import RecipeError
from curate.storage.files import committed, sync, write_json

CONFIG, WEIGHTS, FACTS = "adapter_config.json", "adapter_model.safetensors", "training.json"
CHECKPOINT = "training.checkpoint"  # no suffix of weights: it is not part of what an adapter is known by
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, as torch names them

Tensors = dict[str, Any]  # torch's, by name


@dataclass(frozen=True)
class Facts:
    """What is known of an adapter: the content of training.json."""

    key: str  # digest of what decides its weights
    base: dict[str, Any]  # the model, as a manifest names it
    texts: int
    texts_xxh3_128: str
    heldout_texts: int
    heldout_xxh3_128: str
    seed: int
    settings: dict[str, Any]  # the fields of the recipe's section
    versions: dict[str, str]
    device: str  # cpu or cuda
    steps: int  # that were made
    best_step: int  # whose weights these are; 0: none was better than the base
    tokens: int  # that were trained on, a token that was read twice counted twice
    bits_per_byte_before: float  # of the held-out texts, by the base
    bits_per_byte_after: float
    weights_xxh3_128: str
    history: list[dict[str, float]]  # step, loss (nats per token, mean since the row before), bits_per_byte


@dataclass
class State:
    """How far a training has come."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    weights: Tensors = field(default_factory=dict)
    moments: dict[str, Tensors] = field(default_factory=dict)


def read_facts(folder: Path) -> Facts | None:
    """What is known of the adapter in a folder; None where there is no finished one."""
    try:
        facts = Facts(**json.loads((folder / FACTS).read_text("utf-8")))
        whole = xxh3_128_hexdigest((folder / WEIGHTS).read_bytes()) == facts.weights_xxh3_128
    except (OSError, ValueError, TypeError):
        return None
    return facts if whole and (folder / CONFIG).is_file() else None


def check_folder(folder: Path) -> None:
    """Refuse a folder with an adapter that was not trained here.

    Errors: RecipeError.
    """
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder}: a file; name a folder for the adapter")
    if (folder / CONFIG).exists() and not any((folder / name).exists() for name in (FACTS, CHECKPOINT)):
        raise RecipeError(f"{folder}: holds an adapter that curate did not train; name another folder")


def save_checkpoint(folder: Path, key: str, state: State) -> None:
    """Commit how far a training has come.

    Errors: WorkerError where the disk is full.
    """
    from safetensors.torch import save

    groups = {"best": state.best, "weights": state.weights, **state.moments}
    tensors = {f"{group} {name}": value for group, found in groups.items() for name, value in found.items()}
    told = {"key": key, "step": str(state.step), "history": json.dumps(state.history)}
    with committed(folder / CHECKPOINT) as aside:
        aside.write_bytes(save(tensors, told))


def load_checkpoint(folder: Path, key: str) -> State | None:
    """How far the training with this key has come; None where it is not begun."""
    from safetensors import SafetensorError, safe_open

    groups: dict[str, Tensors] = {name: {} for name in ("best", "weights", *MOMENTS)}
    try:
        with safe_open(folder / CHECKPOINT, "pt") as file:
            told = file.metadata()
            if told["key"] != key:
                return None
            for place in file.keys():  # noqa: SIM118 - no mapping
                group, _, name = place.partition(" ")
                groups[group][name] = file.get_tensor(place)
    except (OSError, SafetensorError):
        return None
    best, weights = groups.pop("best"), groups.pop("weights")
    return State(int(told["step"]), json.loads(told["history"]), best, weights, groups)


def save_adapter(folder: Path, config: Mapping[str, Any], weights: bytes, facts: Facts) -> None:
    """Commit a finished adapter; what stood there before is whole until then, and its facts go first.

    Errors: WorkerError where the disk is full.
    """
    if (folder / FACTS).exists():
        (folder / FACTS).unlink()
        sync(folder)
    with committed(folder / WEIGHTS) as aside:
        aside.write_bytes(weights)
    write_json(folder / CONFIG, config)
    write_json(folder / FACTS, asdict(facts))
    (folder / CHECKPOINT).unlink(missing_ok=True)
