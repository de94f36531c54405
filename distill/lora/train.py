"""Train LoRA adapters (Hu et al. 2021): a language model learns the texts of a domain in a few additional weights.

The weights of the model are frozen. The product of two low-rank matrices is added to some of its layers. These matrices
are trained by AdamW on windows of texts joined by end-of-text tokens. A killed training resumes from its last
checkpoint and ends with the same bytes as an uninterrupted one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128, xxh3_128_hexdigest

from curate.digest import ADAPTERS, code_of, digest_of
from curate.distill.lora.files import (
    AdapterFacts,
    TrainingState,
    check_folder,
    load_checkpoint,
    read_facts,
    save_adapter,
    save_checkpoint,
)
from curate.distill.lora.model import (
    FIELD,
    Heldout,
    Integers,
    best_of,
    deterministic,
    export_adapter,
    load,
    readable_errors,
    train,
)
from curate.distill.teacher.local import require_modules
from curate.distill.teacher.protocol import ModelFacts
from curate.distill.teacher.weights import model_facts
from curate.distill.text.chunks import chunk_spans
from curate.errors import RecipeError
from curate.progress import Log
from curate.recipe.tier3 import Adapter
from curate.storage.files import remove_asides_below

HELDOUT_BYTES = 48_000  # of an evaluation: about as many tokens as in 6 steps of the default size
PASSAGE_CHARACTERS = 4  # per token of the context: the size of training passages and held-out passages
REQUEST = "Write a passage of a text."  # each passage is the reply to this request
TOKENIZER_BATCH = 64  # texts
NOT_DECISIVE = {"base", "documents"}  # settings; the content of the model and of the texts is in the key instead


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingInputs:
    """What decides an adapter's weights, apart from code."""

    base: ModelFacts
    texts_xxh3_128: str
    heldout_xxh3_128: str
    seed: int
    settings: dict[str, object]  # fields of the recipe's section

    @property
    def key(self) -> str:
        """The digest of the inputs and the code."""
        return digest_of({"code": code_of(*ADAPTERS), **asdict(self)})


def train_adapter(
    texts: Sequence[str],
    heldout: Sequence[str],
    section: Adapter,
    base: tuple[str, str | None],
    folder: Path,
    seed: int,
    log: Log,
) -> AdapterFacts:
    """Train an adapter of a model (a folder or Hub name, with a revision) on texts, and save it in PEFT's format.

    The model is evaluated on the held-out texts every `check_every` steps, with a checkpoint to resume from. The result
    has the weights of the best evaluation; if none was better than the base, it has no effect. A folder that already
    contains the result stays as it is. One with another adapter of curate's keeps it until the new one is finished.

    Errors: TeacherError without the libraries; RecipeError for a model that is not available or does not fit the
            section, for too few texts, and for a folder with other content; Interrupted by Ctrl-C.
    """
    require_modules(FIELD, "lora", "torch", "transformers", "peft")
    check_folder(folder)
    remove_asides_below(folder)
    tokenizer, base_facts = _open_base(base, section)
    inputs = _training_inputs(texts, heldout, section, base_facts, seed)
    if (finished := _finished(folder, inputs, log)) is not None:
        return finished
    stream = _stream(texts, tokenizer, section, seed)
    windows = _heldout_windows(heldout, tokenizer, section.context)
    save, checkpoint = partial(save_checkpoint, folder, inputs.key), load_checkpoint(folder, inputs.key)
    with deterministic():
        loaded = load(base, base_facts["model"], section, seed, stream, windows)
        state = train(loaded, section, seed, save, checkpoint, log)
        weights, config = export_adapter(loaded, state.best, base_facts)
    facts = _adapter_facts(inputs, len(texts), len(heldout), section, state, loaded.device, weights=weights)
    save_adapter(folder, config, weights, facts)
    log.event("adapter", steps=facts.steps, before=facts.bits_per_byte_before, after=facts.bits_per_byte_after)
    return facts


def _training_inputs(
    texts: Sequence[str], heldout: Sequence[str], section: Adapter, base: ModelFacts, seed: int
) -> TrainingInputs:
    return TrainingInputs(
        base=base,
        texts_xxh3_128=_content(texts),
        heldout_xxh3_128=_content(heldout),
        seed=seed,
        settings=section.model_dump(mode="json", exclude=NOT_DECISIVE),
    )


def _finished(folder: Path, inputs: TrainingInputs, log: Log) -> AdapterFacts | None:
    """The finished adapter in a folder, if it was trained from the same inputs. Reports what was found."""
    facts = read_facts(folder)
    if facts is None:
        return None
    if facts.key == inputs.key:
        log.say(f"{folder}: the adapter is trained already")
        return facts
    log.say(f"{folder}: trained anew, with other {_differences(facts, inputs)}")
    return None


def _adapter_facts(
    inputs: TrainingInputs,
    n_texts: int,
    n_heldout: int,
    section: Adapter,
    state: TrainingState,
    device: str,
    weights: bytes,
) -> AdapterFacts:
    best = best_of(state.history)
    return AdapterFacts(
        key=inputs.key,
        base=inputs.base,
        texts=n_texts,
        texts_xxh3_128=inputs.texts_xxh3_128,
        heldout_texts=n_heldout,
        heldout_xxh3_128=inputs.heldout_xxh3_128,
        seed=inputs.seed,
        settings=inputs.settings,
        versions=_versions(),
        device=device,
        steps=state.step,
        best_step=int(best["step"]),
        tokens=state.step * section.batch * section.context,
        bits_per_byte_before=state.history[0]["bits_per_byte"],
        bits_per_byte_after=best["bits_per_byte"],
        weights_xxh3_128=xxh3_128_hexdigest(weights),
        history=state.history,
    )


def _differences(facts: AdapterFacts, inputs: TrainingInputs) -> str:
    """The names of inputs and settings that differ from those of a finished adapter; "code" where none does."""
    names = [name.removesuffix("_xxh3_128") for name, value in asdict(inputs).items() if getattr(facts, name) != value]
    changed = [name for name, value in inputs.settings.items() if facts.settings.get(name) != value]
    return ", ".join([*(name for name in names if name != "settings"), *changed]) or "code"


def _content(texts: Sequence[str]) -> str:
    """The hash of texts in their order."""
    content = xxh3_128()
    for text in texts:
        raw = text.encode("utf-8")
        content.update(len(raw).to_bytes(8, "little") + raw)
    return str(content.hexdigest())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft")}


def _open_base(base: tuple[str, str | None], section: Adapter) -> tuple[Any, ModelFacts]:
    """Load the tokenizer of a model, and identify the model.

    Errors: RecipeError for a model that cannot be loaded or has a context shorter than the section's.
    """
    from transformers import AutoConfig, AutoTokenizer

    field = f"{FIELD}.base"
    model_facts(*base, field)  # check the path first, for a readable error
    with readable_errors(base[0]):
        source = {"pretrained_model_name_or_path": str(Path(base[0]).expanduser()), "revision": base[1]}
        config = AutoConfig.from_pretrained(**source)
        tokenizer = AutoTokenizer.from_pretrained(**source)
    if tokenizer.eos_token_id is None:
        raise RecipeError(f"{field}: {base[0]}: its tokenizer has no end of text, by which texts are joined")
    limit = int(getattr(config, "max_position_embeddings", 0) or 0)
    facts = model_facts(*base, field)
    if limit and section.context > limit:
        raise RecipeError(f"{FIELD}.context: {section.context} tokens are more than the {limit} of {facts['model']}")
    return tokenizer, facts


def _tokens(texts: Sequence[str], tokenizer: Any) -> Iterator[list[int]]:  # noqa: ANN401 - transformers'
    for start in range(0, len(texts), TOKENIZER_BATCH):
        batch = list(texts[start : start + TOKENIZER_BATCH])
        yield from tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]


def _as_reply(passage: str, tokenizer: Any) -> str:  # noqa: ANN401
    """A passage as a chat model's reply to REQUEST, without the final end-of-text token; as it is for other models."""
    if tokenizer.chat_template is None:
        return passage
    messages = [{"role": "user", "content": REQUEST}, {"role": "assistant", "content": passage}]
    conversation = str(tokenizer.apply_chat_template(messages, tokenize=False))
    return conversation.rstrip().removesuffix(tokenizer.eos_token)


def _stream(texts: Sequence[str], tokenizer: Any, section: Adapter, seed: int) -> Integers:  # noqa: ANN401
    """The stream of training tokens: passages in random order, each with an end-of-text token, enough for all steps.

    A chat model learns passages as replies. From whole documents, it would unlearn to follow requests and to end.

    Errors: RecipeError where the tokens are too few for one step.
    """
    step = section.batch * section.context
    size = PASSAGE_CHARACTERS * section.context
    passages = [text[start:end] for text in texts for start, end in chunk_spans(text, size)]
    order = np.random.default_rng([seed, 1]).permutation(len(passages))
    parts, count = [], 0
    for tokens in _tokens([_as_reply(passages[k], tokenizer) for k in order], tokenizer):
        parts.append(np.array([*tokens, tokenizer.eos_token_id], np.int64))
        count += len(parts[-1])
        if count > step * section.steps + section.context:
            break
    if count <= step:
        raise RecipeError(
            f"{FIELD}: {len(texts):,} texts of {count:,} tokens are too few: one step reads {step:,}, which is batch "
            "times context; give more texts"
        )
    return np.concatenate(parts)


def _heldout_windows(texts: Sequence[str], tokenizer: Any, context: int) -> Heldout:  # noqa: ANN401
    """Tokenize the beginnings of held-out texts, as many as an evaluation takes.

    Errors: RecipeError where there is none.
    """
    passages, n_bytes = [], 0
    for text in texts:
        if text.strip() and n_bytes < HELDOUT_BYTES:
            passages.append(text[: PASSAGE_CHARACTERS * context])
            n_bytes += len(passages[-1].encode("utf-8"))
    windows = [
        [tokenizer.eos_token_id, *tokens[start : start + context]]
        for tokens in _tokens(passages, tokenizer)
        for start in range(0, len(tokens), context)
    ]
    if not windows:
        raise RecipeError(f"{FIELD}: no held-out text, so that nothing would tell when to stop; give more texts")
    return Heldout(tuple(windows), n_bytes)
