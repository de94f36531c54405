"""A language model with a LoRA adapter that is trained: loaded, trained step by step, asked about held-out text.

What is read at a step, and all that is drawn there, is known from the seed and the step, so that the steps after a
checkpoint are the same whether a process made it or found it.
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

from curate.distill.lora.files import MOMENTS, State, Tensors
from curate.distill.schedule import rate, window_starts
from curate.errors import Interrupted, RecipeError, shortened
from curate.progress import Log, Replies
from curate.recipe.tier3 import Adapter

FIELD = "tier3.adapter"
BETAS = (0.9, 0.95)
MOST_GRADIENT = 1.0
ACTIVATIONS = 34  # bytes kept for the gradient of each layer, by token and width, in 16 bits (Korthikanti et al. 2022)
LOGITS = 14  # and by token and word of the vocabulary: in 16 bits, as 32, their gradient, and what softmax takes

Integers = npt.NDArray[np.int64]
Save = Callable[[State], None]


@dataclass(frozen=True)
class Heldout:
    """Passages whose probability is asked, as tokens."""

    windows: tuple[list[int], ...]  # the first token of each is given
    n_bytes: int


@dataclass
class Loaded:
    """A model with an adapter that is trained, and what it is trained on."""

    network: Any
    device: str
    stream: Any  # of tokens
    heldout: Heldout
    parameters: Tensors  # of the adapter
    optimizer: Any


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Tell in one line why a model cannot be loaded."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        problem = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}.base: {model}: cannot be loaded: {problem}") from None


@contextmanager
def repeatable() -> Iterator[None]:
    """Have torch draw from generators of its own, and choose what gives the same numbers each time on a GPU."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        try:
            torch.use_deterministic_algorithms(torch.cuda.is_available(), warn_only=True)
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def load(
    base: tuple[str, str | None], name: str, section: Adapter, seed: int, stream: Integers, heldout: Heldout
) -> Loaded:
    """The model with a new adapter, which changes nothing yet.

    Errors: RecipeError where it cannot be loaded, or lacks layers that are to be adapted.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with loading(base[0]):
        place, dtype = str(Path(base[0]).expanduser()), getattr(torch, section.dtype)
        network = AutoModelForCausalLM.from_pretrained(place, revision=base[1], dtype=dtype).to(device)
    _check_modules(network, section.target_modules, name)
    torch.manual_seed(_drawn(seed, "adapter"))
    config = LoraConfig(
        r=section.rank, lora_alpha=section.alpha, target_modules=sorted(section.target_modules), lora_dropout=0.0,
        bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip
    network = get_peft_model(network, config).train()
    if device == "cpu" and _is_tight(network, section):
        save_memory(network)
    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=section.learning_rate, betas=BETAS, weight_decay=0.0)
    return Loaded(network, device, torch.from_numpy(stream), heldout, parameters, optimizer)


def _check_modules(network: Any, wanted: Sequence[str], model: str) -> None:  # noqa: ANN401
    """Refuse layers that no block of the model has; PEFT alone passes over one of several.

    Errors: RecipeError naming those it has.
    """
    outputs = network.get_output_embeddings()
    has = {
        name.rpartition(".")[2] for name, module in network.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not outputs
    }  # fmt: skip
    if missing := [name for name in wanted if name not in has]:
        raise RecipeError(
            f"{FIELD}.target_modules: {model} has no layer {missing[0]!r} (has: {', '.join(sorted(has))})"
        )


def _is_tight(network: Any, section: Adapter) -> bool:  # noqa: ANN401
    """Whether what a step keeps for its gradient is likely to take more than half of the memory that is free."""
    config = network.config.get_text_config()
    width = config.num_hidden_layers * config.hidden_size * ACTIVATIONS * (2 if section.dtype == "float32" else 1)
    return bool(section.batch * section.context * (width + config.vocab_size * LOGITS) > free_memory() / 2)


def free_memory() -> int:
    """Bytes of memory that can be had; where the system does not tell, half of what there is."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def save_memory(network: Any) -> None:  # noqa: ANN401
    """Compute what a layer keeps for its gradient again when it is needed, which changes no result."""
    network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _drawn(seed: int, purpose: str) -> int:
    return xxh3_64_intdigest(f"{seed} {purpose}".encode()) >> 1


def train(loaded: Loaded, section: Adapter, seed: int, save: Save, begun: State | None, told: Log) -> State:
    """Steps until the last, or until `patience` checks brought no gain; `save` keeps each check.

    Errors: Interrupted by Ctrl-C, RecipeError where a step does not fit a GPU or goes too far.
    """
    state = begun or State()
    if begun is None:
        state.history.append({"step": 0, "bits_per_byte": _bits_per_byte(loaded)})
        state.best = _copied(loaded.parameters)
    else:
        _restore(loaded, state)
    shown = Replies(told, "adapter", section.steps, state.step)
    lost: list[float] = []
    starts = window_starts(len(loaded.stream), section.context, section.batch, section.steps, seed)
    try:
        for some in islice(starts, state.step, None):
            if _waited(state.history) >= section.patience:
                break
            lost.append(_step(loaded, some, section, state.step, seed))
            state.step += 1
            shown.note = f"loss {lost[-1]:.2f}"
            shown.add(section.batch * section.context)
            if state.step % section.check_every == 0 or state.step == section.steps:
                _check(loaded, state, float(np.mean(lost)), save)
                lost.clear()
    except KeyboardInterrupt:
        raise Interrupted("stopped; the last checkpoint is kept: run the same command to go on") from None
    finally:
        shown.end()
    return state


def _check(loaded: Loaded, state: State, loss: float, save: Save) -> None:
    """Ask about the held-out texts, and keep how far the training has come."""
    row = {"step": state.step, "loss": round(loss, 6), "bits_per_byte": _bits_per_byte(loaded)}
    if row["bits_per_byte"] < best_of(state.history)["bits_per_byte"]:
        state.best = _copied(loaded.parameters)
    state.history.append(row)
    state.weights = _copied(loaded.parameters)
    kept = {name: loaded.optimizer.state[value] for name, value in loaded.parameters.items()}
    state.moments = {moment: {name: found[moment].cpu() for name, found in kept.items()} for moment in MOMENTS}
    save(state)


def best_of(history: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The check with the fewest bits, of equal ones the first."""
    return min(history, key=lambda row: row["bits_per_byte"])


def _waited(history: Sequence[Mapping[str, float]]) -> int:
    """Checks since the best one."""
    return sum(row["step"] > best_of(history)["step"] for row in history)


def _copied(parameters: Tensors) -> Tensors:
    return {name: value.detach().cpu().clone() for name, value in parameters.items()}


def _restore(loaded: Loaded, state: State) -> None:
    """Put weights and moments back as they were at a checkpoint."""
    import torch

    for name, value in loaded.parameters.items():
        value.data.copy_(state.weights[name])
        kept = {moment: state.moments[moment][name].to(loaded.device) for moment in MOMENTS}
        loaded.optimizer.state[value] = {"step": torch.tensor(float(state.step)), **kept}


def _step(loaded: Loaded, starts: Integers, section: Adapter, step: int, seed: int) -> float:
    """One step; the loss in nats per token.

    Errors: RecipeError where it does not fit a GPU, and where the loss is no number any more.
    """
    import torch

    for group in loaded.optimizer.param_groups:
        group["lr"] = section.learning_rate * rate(step, section.steps)
    places = torch.from_numpy(starts[:, None] + np.arange(section.context + 1))
    windows = loaded.stream[places].to(loaded.device)
    while True:
        torch.manual_seed(_drawn(seed, f"step {step}"))  # for models with dropout
        loaded.optimizer.zero_grad(set_to_none=True)
        try:
            loss = _nats(loaded.network, windows, "mean")
            loss.backward()
            if not isfinite(loss.detach()):
                at = f"{section.learning_rate}, the loss is no number any more at step {step + 1}"
                raise RecipeError(f"{FIELD}.learning_rate: with {at}; lower it")
            break
        except torch.cuda.OutOfMemoryError:
            if loaded.network.is_gradient_checkpointing:
                raise RecipeError(f"{FIELD}.batch: a step does not fit the GPU; lower batch or context") from None
        save_memory(loaded.network)
        torch.cuda.empty_cache()
    torch.nn.utils.clip_grad_norm_(loaded.parameters.values(), MOST_GRADIENT)
    loaded.optimizer.step()
    return float(loss.detach())


def _nats(network: Any, windows: Any, reduction: str) -> Any:  # noqa: ANN401 - torch's
    """What each window's tokens but the first cost, given those before."""
    import torch

    logits = network(input_ids=windows[:, :-1], use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction)


def _bits_per_byte(loaded: Loaded) -> float:
    """Bits per byte of the held-out passages."""
    import torch

    loaded.network.eval()
    nats = 0.0
    with torch.inference_mode():
        for window in loaded.heldout.windows:
            nats += float(_nats(loaded.network, torch.tensor([window], device=loaded.device), "sum"))
    loaded.network.train()
    return round(nats / log(2) / loaded.heldout.n_bytes, 6)


def saved(loaded: Loaded, best: Tensors, facts: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Weights and configuration as PEFT writes them, but that sets are sorted and the base is named without a path."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    for name, value in loaded.parameters.items():
        value.data.copy_(best[name])
    weights = {
        name: value.detach().cpu().contiguous() for name, value in get_peft_model_state_dict(loaded.network).items()
    }
    config = loaded.network.peft_config["default"].to_dict()
    config = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    config |= {
        "base_model_name_or_path": facts["model"], "revision": facts.get("revision"), "inference_mode": True,
    }  # fmt: skip
    return save(weights, {"format": "pt"}), config
