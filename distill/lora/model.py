"""Train a LoRA adapter of a language model: load the model, train step by step, evaluate on held-out text.

The data and random numbers of a step depend only on the seed and the step. So a training that resumes from a checkpoint
ends with the same weights as one that was not interrupted.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from curate.distill.lora.files import MOMENTS, Tensors, TrainingState
from curate.distill.schedule import learning_rate_factor, window_starts
from curate.distill.teacher.protocol import ModelFacts
from curate.errors import Interrupted, RecipeError, shortened
from curate.progress import Log, Replies
from curate.recipe.tier3 import Adapter

FIELD = "tier3.adapter"
BETAS = (0.9, 0.95)
MAX_GRADIENT_NORM = 1.0
ACTIVATIONS = 34  # bytes per token, layer and unit of width, in 16 bits (Korthikanti et al. 2022)
LOGITS = 14  # bytes per token and word of the vocabulary: logits in 16 and in 32 bits, gradient, softmax

Integers = npt.NDArray[np.int64]
Save = Callable[[TrainingState], None]


@dataclass(frozen=True)
class Heldout:
    """Held-out passages as tokens."""

    windows: tuple[list[int], ...]  # the first token of each is not predicted
    n_bytes: int


@dataclass
class TrainableModel:
    """A model with a trainable adapter, its data and its optimizer."""

    network: Any
    device: str
    stream: Any  # training tokens
    heldout: Heldout
    parameters: Tensors  # of the adapter
    optimizer: Any


@contextmanager
def readable_errors(model: str) -> Iterator[None]:
    """Turn errors of loading a model into a RecipeError of one line."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}.base: {model}: cannot be loaded: {problem}") from None


@contextmanager
def deterministic() -> Iterator[None]:
    """Fork torch's random generators, and use deterministic algorithms on a GPU."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    previous = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        try:
            torch.use_deterministic_algorithms(torch.cuda.is_available(), warn_only=True)
            yield
        finally:
            torch.use_deterministic_algorithms(previous)


def load(
    base: tuple[str, str | None], name: str, section: Adapter, seed: int, stream: Integers, heldout: Heldout
) -> TrainableModel:
    """Load a model with a new adapter, which has no effect yet.

    Errors: RecipeError where the model cannot be loaded or lacks layers to adapt.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with readable_errors(base[0]):
        path, dtype = str(Path(base[0]).expanduser()), getattr(torch, section.dtype)
        network = AutoModelForCausalLM.from_pretrained(path, revision=base[1], dtype=dtype).to(device)
    _check_modules(network, section.target_modules, name)
    torch.manual_seed(_random_seed(seed, "adapter"))
    config = LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha,
        target_modules=sorted(section.target_modules),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    network = get_peft_model(network, config).train()
    if device == "cpu" and _is_tight(network, section):
        save_memory(network)
    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=section.learning_rate, betas=BETAS, weight_decay=0.0)
    return TrainableModel(network, device, torch.from_numpy(stream), heldout, parameters, optimizer)


def _check_modules(network: Any, target_modules: Sequence[str], model: str) -> None:  # noqa: ANN401
    """Check that the model has all layers to adapt. PEFT silently ignores a missing one among several.

    Errors: RecipeError that lists the layers of the model.
    """
    outputs = network.get_output_embeddings()
    layers = {
        name.rpartition(".")[2]
        for name, module in network.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not outputs
    }
    if missing := [name for name in target_modules if name not in layers]:
        raise RecipeError(
            f"{FIELD}.target_modules: {model} has no layer {missing[0]!r} (has: {', '.join(sorted(layers))})"
        )


def _is_tight(network: Any, section: Adapter) -> bool:  # noqa: ANN401
    """Whether a step's activations are likely to take more than half of the free memory."""
    config = network.config.get_text_config()
    width = config.num_hidden_layers * config.hidden_size * ACTIVATIONS * (2 if section.dtype == "float32" else 1)
    return bool(section.batch * section.context * (width + config.vocab_size * LOGITS) > free_memory() / 2)


def free_memory() -> int:
    """Bytes of available memory; where the system does not report them, half of all memory."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def save_memory(network: Any) -> None:  # noqa: ANN401
    """Recompute activations in the backward pass instead of keeping them. This does not change results."""
    network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _random_seed(seed: int, purpose: str) -> int:
    return xxh3_64_intdigest(f"{seed} {purpose}".encode()) >> 1


def train(
    loaded: TrainableModel, section: Adapter, seed: int, save: Save, checkpoint: TrainingState | None, progress_log: Log
) -> TrainingState:
    """Train until the last step, or until `patience` evaluations brought no gain; `save` each evaluated state.

    Errors: Interrupted by Ctrl-C, RecipeError where a step does not fit the GPU or diverges.
    """
    state = checkpoint or TrainingState()
    if checkpoint is None:
        state.history.append({"step": 0, "bits_per_byte": _bits_per_byte(loaded)})
        state.best = _copy_tensors(loaded.parameters)
    else:
        _restore(loaded, state)
    progress = Replies(progress_log, "adapter", section.steps, state.step)
    losses: list[float] = []
    starts = window_starts(len(loaded.stream), section.context, section.batch, section.steps, seed)
    try:
        for starts_of_step in islice(starts, state.step, None):
            if _checks_since_best(state.history) >= section.patience:
                break
            losses.append(_step(loaded, starts_of_step, section, state.step, seed))
            state.step += 1
            progress.note = f"loss {losses[-1]:.2f}"
            progress.add(section.batch * section.context)
            if state.step % section.check_every == 0 or state.step == section.steps:
                _evaluate(loaded, state, float(np.mean(losses)), save)
                losses.clear()
    except KeyboardInterrupt:
        raise Interrupted("stopped; the last checkpoint is kept: run the same command to go on") from None
    finally:
        progress.end()
    return state


def _evaluate(loaded: TrainableModel, state: TrainingState, loss: float, save: Save) -> None:
    """Evaluate on the held-out texts, and save the state."""
    row = {"step": state.step, "loss": round(loss, 6), "bits_per_byte": _bits_per_byte(loaded)}
    if row["bits_per_byte"] < best_of(state.history)["bits_per_byte"]:
        state.best = _copy_tensors(loaded.parameters)
    state.history.append(row)
    state.weights = _copy_tensors(loaded.parameters)
    optimizer_states = {name: loaded.optimizer.state[value] for name, value in loaded.parameters.items()}
    state.moments = {
        moment: {name: optimizer_state[moment].cpu() for name, optimizer_state in optimizer_states.items()}
        for moment in MOMENTS
    }
    save(state)


def best_of(history: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The evaluation with the fewest bits per byte; of equal ones the first."""
    return min(history, key=lambda row: row["bits_per_byte"])


def _checks_since_best(history: Sequence[Mapping[str, float]]) -> int:
    """The number of evaluations since the best one."""
    return sum(row["step"] > best_of(history)["step"] for row in history)


def _copy_tensors(parameters: Tensors) -> Tensors:
    return {name: value.detach().cpu().clone() for name, value in parameters.items()}


def _restore(loaded: TrainableModel, state: TrainingState) -> None:
    """Restore the weights and moments of a checkpoint."""
    import torch

    for name, value in loaded.parameters.items():
        value.data.copy_(state.weights[name])
        moments = {moment: state.moments[moment][name].to(loaded.device) for moment in MOMENTS}
        loaded.optimizer.state[value] = {"step": torch.tensor(float(state.step)), **moments}


def _step(loaded: TrainableModel, starts: Integers, section: Adapter, step: int, seed: int) -> float:
    """Train one step; return the loss in nats per token.

    Errors: RecipeError where it does not fit the GPU, or where the loss is not finite.
    """
    import torch

    for group in loaded.optimizer.param_groups:
        group["lr"] = section.learning_rate * learning_rate_factor(step, section.steps)
    positions = torch.from_numpy(starts[:, None] + np.arange(section.context + 1))
    windows = loaded.stream[positions].to(loaded.device)
    while True:
        torch.manual_seed(_random_seed(seed, f"step {step}"))  # for models with dropout
        loaded.optimizer.zero_grad(set_to_none=True)
        try:
            loss = _nats(loaded.network, windows, "mean")
            loss.backward()
            if not isfinite(loss.detach()):
                problem = f"{section.learning_rate}, the loss is no number any more at step {step + 1}"
                raise RecipeError(f"{FIELD}.learning_rate: with {problem}; lower it")
            break
        except torch.cuda.OutOfMemoryError:
            if loaded.network.is_gradient_checkpointing:
                raise RecipeError(f"{FIELD}.batch: a step does not fit the GPU; lower batch or context") from None
        save_memory(loaded.network)
        torch.cuda.empty_cache()
    torch.nn.utils.clip_grad_norm_(loaded.parameters.values(), MAX_GRADIENT_NORM)
    loaded.optimizer.step()
    return float(loss.detach())


def _nats(network: Any, windows: Any, reduction: str) -> Any:  # noqa: ANN401 - torch's
    """The cross-entropy of each window's tokens except the first."""
    import torch

    logits = network(input_ids=windows[:, :-1], use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction)


def _bits_per_byte(loaded: TrainableModel) -> float:
    """The bits per byte of the held-out passages."""
    import torch

    loaded.network.eval()
    nats = 0.0
    with torch.inference_mode():
        for window in loaded.heldout.windows:
            nats += float(_nats(loaded.network, torch.tensor([window], device=loaded.device), "sum"))
    loaded.network.train()
    return round(nats / log(2) / loaded.heldout.n_bytes, 6)


def export_adapter(loaded: TrainableModel, best: Tensors, facts: ModelFacts) -> tuple[bytes, dict[str, object]]:
    """Weights and configuration in PEFT's format, with sets sorted and the base named without its path."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    for name, value in loaded.parameters.items():
        value.data.copy_(best[name])
    weights = {
        name: value.detach().cpu().contiguous() for name, value in get_peft_model_state_dict(loaded.network).items()
    }
    config = loaded.network.peft_config["default"].to_dict()
    config = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    config |= {"base_model_name_or_path": facts["model"], "revision": facts.get("revision"), "inference_mode": True}
    return save(weights, {"format": "pt"}), config
