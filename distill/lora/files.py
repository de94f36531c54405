"""The files of a LoRA adapter: a checkpoint while it is trained, then the finished adapter.

A finished folder contains PEFT's `adapter_config.json` and `adapter_model.safetensors`, and `training.json`, which is
written last. Until then there is a checkpoint. So a folder always shows which training it belongs to.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from curate.distill.teacher.protocol import ModelFacts
from curate.errors import RecipeError
from curate.storage.files import committed, sync, write_json

CONFIG, WEIGHTS, FACTS = "adapter_config.json", "adapter_model.safetensors", "training.json"
CHECKPOINT = "training.checkpoint"  # without a suffix of weights, so that it is not part of an adapter's content hash
MOMENTS = ("exp_avg", "exp_avg_sq")  # torch's names of AdamW's moments

Tensors = dict[str, Any]  # torch's tensors by name


@dataclass(frozen=True)
class AdapterFacts:
    """The content of training.json: what decided an adapter's weights, and how its training went."""

    key: str  # digest of what decides the weights
    base: ModelFacts
    texts: int
    texts_xxh3_128: str
    heldout_texts: int
    heldout_xxh3_128: str
    seed: int
    settings: dict[str, object]  # fields of the recipe's section
    versions: dict[str, str]
    device: str  # cpu or cuda
    steps: int  # steps done
    best_step: int  # step of these weights; 0: none was better than the base
    tokens: int  # training tokens, counted in every epoch
    bits_per_byte_before: float  # of the held-out texts, by the base
    bits_per_byte_after: float
    weights_xxh3_128: str
    history: list[dict[str, float]]  # step, loss (nats per token, mean since the previous row), bits_per_byte


@dataclass
class TrainingState:
    """The state of a training: what a checkpoint contains."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    weights: Tensors = field(default_factory=dict)
    moments: dict[str, Tensors] = field(default_factory=dict)


def read_facts(folder: Path) -> AdapterFacts | None:
    """Read the facts of the adapter in a folder; None unless it is finished and intact."""
    try:
        facts = AdapterFacts(**json.loads((folder / FACTS).read_text("utf-8")))
        intact = xxh3_128_hexdigest((folder / WEIGHTS).read_bytes()) == facts.weights_xxh3_128
    except (OSError, ValueError, TypeError):
        return None
    return facts if intact and (folder / CONFIG).is_file() else None


def check_folder(folder: Path) -> None:
    """Check that a folder has no adapter that curate did not train.

    Errors: RecipeError.
    """
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder}: a file; name a folder for the adapter")
    if (folder / CONFIG).exists() and not any((folder / name).exists() for name in (FACTS, CHECKPOINT)):
        raise RecipeError(f"{folder}: holds an adapter that curate did not train; name another folder")


def save_checkpoint(folder: Path, key: str, state: TrainingState) -> None:
    """Commit the state of a training.

    Errors: WorkerError where the disk is full.
    """
    from safetensors.torch import save

    groups = {"best": state.best, "weights": state.weights, **state.moments}
    tensors = {
        f"{group} {name}": value
        for group, tensors_of_group in groups.items()
        for name, value in tensors_of_group.items()
    }
    metadata = {"key": key, "step": str(state.step), "history": json.dumps(state.history)}
    with committed(folder / CHECKPOINT) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_checkpoint(folder: Path, key: str) -> TrainingState | None:
    """Load the state of the training with this key; None without a readable checkpoint."""
    from safetensors import SafetensorError, safe_open

    groups: dict[str, Tensors] = {name: {} for name in ("best", "weights", *MOMENTS)}
    try:
        with safe_open(folder / CHECKPOINT, "pt") as file:
            metadata = file.metadata()
            if metadata["key"] != key:
                return None
            for tensor_name in file.keys():  # noqa: SIM118 - not a mapping
                group, _, name = tensor_name.partition(" ")
                groups[group][name] = file.get_tensor(tensor_name)
    except (OSError, SafetensorError):
        return None
    best, weights = groups.pop("best"), groups.pop("weights")
    return TrainingState(int(metadata["step"]), json.loads(metadata["history"]), best, weights, groups)


def save_adapter(folder: Path, config: Mapping[str, object], weights: bytes, facts: AdapterFacts) -> None:
    """Commit a finished adapter. Of an earlier adapter, the facts are removed first, as they vouch for its weights.

    Errors: WorkerError where the disk is full.
    """
    if (folder / FACTS).exists():
        (folder / FACTS).unlink()
        sync(folder)
    with committed(folder / WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    write_json(folder / CONFIG, config)
    write_json(folder / FACTS, asdict(facts))
    (folder / CHECKPOINT).unlink(missing_ok=True)
