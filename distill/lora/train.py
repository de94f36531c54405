"""LoRA adapters (Hu et al. 2021): a language model learns how texts of a domain read, in a small part of its weights.

The weights of the model stay as they are. To some of its layers a product of two thin matrices is added, and these are
trained, by AdamW, on windows of texts that are joined by the end of text. A training that was killed goes on from its
last checkpoint and ends with the same bytes as one that was not.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_128, xxh3_128_hexdigest

from curate.digest import ADAPTERS, code_of, digest_of
from curate.distill.lora.files import Facts, check_folder, load_checkpoint, read_facts, save_adapter, save_checkpoint
from curate.distill.lora.model import FIELD, Heldout, Integers, best_of, load, loading, repeatable, saved, train
from curate.distill.teacher.local import require_modules
from curate.distill.teacher.protocol import ModelFacts
from curate.distill.teacher.weights import model_facts
from curate.distill.text.chunks import chunk_spans
from curate.errors import RecipeError
from curate.progress import Log
from curate.recipe.tier3 import Adapter
from curate.storage.files import remove_asides_below

HELDOUT_BYTES = 48_000  # that are asked about in a check: about as many tokens as in 6 steps of the usual size
PASSAGE = 4  # characters for each token of the context: of a passage, and of a held-out text that is asked about
REQUEST = "Write a passage of a text."  # that each passage is the reply to
TEXTS_AT_ONCE = 64  # that become tokens
NOT_OF_THE_KEY = {"base", "documents"}  # the model's content and the texts themselves are


def train_adapter(
    texts: Sequence[str], heldout: Sequence[str], section: Adapter, base: tuple[str, str | None], folder: Path,
    seed: int, log: Log,
) -> Facts:  # fmt: skip
    """Train an adapter of a model (a folder or Hub name, with a revision) on texts, into a folder as PEFT has it.

    Each `check_every` steps the held-out texts are asked about, and a checkpoint is made, from which a training that
    was stopped goes on. What is saved are the weights of the best check; where none was better than the base, those
    that change nothing. A folder that holds what would come out is left as it is; one with another adapter that was
    trained here keeps it until the new one is finished.

    Errors: TeacherError without the libraries; RecipeError for a model that cannot be had or does not fit the section,
            for too few texts, and for a folder that holds something else; Interrupted by Ctrl-C.
    """
    require_modules(FIELD, "lora", "torch", "transformers", "peft")
    check_folder(folder)
    remove_asides_below(folder)
    tokenizer, limit, facts = _opened(base)
    if limit and section.context > limit:
        raise RecipeError(f"{FIELD}.context: {section.context} tokens are more than the {limit} of {facts['model']}")
    decisive: dict[str, Any] = {
        "base": facts,
        "texts_xxh3_128": _content(texts),
        "heldout_xxh3_128": _content(heldout),
        "seed": seed,
        "settings": section.model_dump(mode="json", exclude=NOT_OF_THE_KEY),
    }
    key = digest_of({"code": code_of(*ADAPTERS), **decisive})
    if (found := read_facts(folder)) is not None:
        if found.key == key:
            log.say(f"{folder}: the adapter is trained already")
            return found
        log.say(f"{folder}: trained anew, with other {_differences(found, decisive)}")
    stream = _stream(texts, tokenizer, section, seed)
    asked = _asked_of(heldout, tokenizer, section.context)
    with repeatable():
        loaded = load(base, facts["model"], section, seed, stream, asked)
        state = train(loaded, section, seed, partial(save_checkpoint, folder, key), load_checkpoint(folder, key), log)
        weights, config = saved(loaded, state.best, facts)
        done = Facts(
            key=key, **decisive, texts=len(texts), heldout_texts=len(heldout), versions=_versions(),
            device=loaded.device, steps=state.step, best_step=int(best_of(state.history)["step"]),
            tokens=state.step * section.batch * section.context,
            bits_per_byte_before=state.history[0]["bits_per_byte"],
            bits_per_byte_after=best_of(state.history)["bits_per_byte"],
            weights_xxh3_128=xxh3_128_hexdigest(weights), history=state.history,
        )  # fmt: skip
    save_adapter(folder, config, weights, done)
    log.event("adapter", steps=done.steps, before=done.bits_per_byte_before, after=done.bits_per_byte_after)
    return done


def _differences(found: Facts, wanted: Mapping[str, Any]) -> str:
    """What tells a finished adapter from one that is wanted."""
    names = [name.removesuffix("_xxh3_128") for name, value in wanted.items() if getattr(found, name) != value]
    changed = [name for name, value in wanted["settings"].items() if found.settings.get(name) != value]
    return ", ".join([*(name for name in names if name != "settings"), *changed]) or "code"


def _content(texts: Sequence[str]) -> str:
    """Hash of texts in their order."""
    content = xxh3_128()
    for text in texts:
        raw = text.encode("utf-8")
        content.update(len(raw).to_bytes(8, "little") + raw)
    return str(content.hexdigest())


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft")}


def _opened(base: tuple[str, str | None]) -> tuple[Any, int, ModelFacts]:
    """The tokenizer of a model, how many tokens the model holds (0: it does not say), and what identifies it."""
    from transformers import AutoConfig, AutoTokenizer

    field = f"{FIELD}.base"
    model_facts(*base, field)  # so that a wrong path is told in our words
    with loading(base[0]):
        place = {"pretrained_model_name_or_path": str(Path(base[0]).expanduser()), "revision": base[1]}
        config = AutoConfig.from_pretrained(**place)
        tokenizer = AutoTokenizer.from_pretrained(**place)
    if tokenizer.eos_token_id is None:
        raise RecipeError(f"{field}: {base[0]}: its tokenizer has no end of text, by which texts are joined")
    return tokenizer, int(getattr(config, "max_position_embeddings", 0) or 0), model_facts(*base, field)


def _tokens(texts: Sequence[str], tokenizer: Any) -> Iterator[list[int]]:  # noqa: ANN401 - transformers'
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = list(texts[start : start + TEXTS_AT_ONCE])
        yield from tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]


def _as_reply(passage: str, tokenizer: Any) -> str:  # noqa: ANN401
    """A passage as what the model says, if it is one that chats; without the end that is put behind each."""
    if tokenizer.chat_template is None:
        return passage
    messages = [{"role": "user", "content": REQUEST}, {"role": "assistant", "content": passage}]
    said = str(tokenizer.apply_chat_template(messages, tokenize=False))
    return said.rstrip().removesuffix(tokenizer.eos_token)


def _stream(texts: Sequence[str], tokenizer: Any, section: Adapter, seed: int) -> Integers:  # noqa: ANN401
    """Passages of texts in an order drawn by seed, an end behind each, as far as the steps can read them.

    A model that chats learns them as replies: from whole documents it unlearns to come to an end, and to read requests.

    Errors: RecipeError where they do not fill one step.
    """
    step = section.batch * section.context
    passages = [text[start:end] for text in texts for start, end in chunk_spans(text, PASSAGE * section.context)]
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


def _asked_of(texts: Sequence[str], tokenizer: Any, context: int) -> Heldout:  # noqa: ANN401
    """The beginnings of held-out texts, as many as a check asks about.

    Errors: RecipeError where there is none.
    """
    passages, n_bytes = [], 0
    for text in texts:
        if text.strip() and n_bytes < HELDOUT_BYTES:
            passages.append(text[: PASSAGE * context])
            n_bytes += len(passages[-1].encode("utf-8"))
    windows = [
        [tokenizer.eos_token_id, *tokens[start : start + context]]
        for tokens in _tokens(passages, tokenizer)
        for start in range(0, len(tokens), context)
    ]
    if not windows:
        raise RecipeError(f"{FIELD}: no held-out text, so that nothing would tell when to stop; give more texts")
    return Heldout(tuple(windows), n_bytes)
