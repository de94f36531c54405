"""Adapters of a recipe's domains: the texts that one is trained on, the model that it is for, and where it lies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.edits import apply_edits, find_edits
from curate.corpus.side_files import side_files, tables_of
from curate.corpus.texts import is_utf8
from curate.distill.leaks import LEAK, leaks
from curate.distill.lora.files import Facts
from curate.distill.lora.model import FIELD
from curate.distill.lora.train import train_adapter
from curate.distill.reference import least_keys, sampling_mask, texts_in
from curate.distill.teacher.local import require_modules
from curate.distill.teacher.open import check_teacher
from curate.distill.teacher.weights import find_model
from curate.errors import InputError, RecipeError, did_you_mean
from curate.filters.rules.resolve import resolve_editors
from curate.filters.signals.hashes import hash_texts
from curate.ledger.ledger import locked
from curate.progress import Log
from curate.recipe.recipe import Recipe
from curate.recipe.teacher import Teacher
from curate.recipe.tier3 import Adapter, Domain
from curate.storage.lock import held

FOLDER = Path("models") / "adapters"
HELDOUT_SHARE = 10  # one in so many texts is held out
MOST_HELDOUT = 200
NEEDED = ("lora", "torch", "transformers", "peft")  # the extra that has the libraries, and these
EMPTY = pa.table({"key": pa.array([], pa.uint64()), "text": pa.array([], pa.large_string())})


@dataclass(frozen=True)
class DomainTexts:
    """Texts of a domain, each once: those that an adapter is trained on, and those that tell when to stop."""

    training: tuple[str, ...]
    heldout: tuple[str, ...]


def check_models(recipe: Recipe) -> None:
    """Refuse a third tier whose seeds and models cannot be had here, as far as libraries and folders tell.

    Errors: RecipeError, TeacherError; InputError for seeds that are missing.
    """
    if recipe.tier3 is None:
        return
    for domain in recipe.tier3.domains:
        side_files(domain.seeds, f"tier3.domains: {domain.name}", "seeds")
    if recipe.tier3.adapter is not None:
        find_model(*base_of(recipe), f"{FIELD}.base")
        require_modules(FIELD, *NEEDED)
    check_teacher(recipe.teacher)


def train_domain(recipe: Recipe, name: str, out: Path | None, log: Log) -> tuple[Path, Facts]:
    """Train the adapter of a domain on its seeds; the folder, by default in the run directory, and what is known of it.

    Errors: any CurateError.
    """
    domain, section, base = domain_named(recipe, name), adapter_of(recipe), base_of(recipe)
    require_modules(FIELD, *NEEDED)
    folder = out or folder_of(recipe.run_directory, name)
    with locked(recipe.run_directory) if out is None else held(folder):
        texts = domain_texts(recipe, domain, section.documents)
        return folder, train_adapter(texts.training, texts.heldout, section, base, folder, recipe.seed, log)


def folder_of(run: Path, name: str) -> Path:
    """Where a run has the adapter of a domain."""
    return run / FOLDER / name


def domain_named(recipe: Recipe, name: str) -> Domain:
    """A domain of a recipe.

    Errors: RecipeError where there is none of that name.
    """
    domains = {domain.name: domain for domain in recipe.tier3.domains} if recipe.tier3 else {}
    if name not in domains:
        raise RecipeError(f"tier3.domains: no domain {name!r}{did_you_mean(name, domains)}")
    return domains[name]


def adapter_of(recipe: Recipe) -> Adapter:
    """The recipe's settings of adapters.

    Errors: RecipeError where it has none.
    """
    if recipe.tier3 is None or recipe.tier3.adapter is None:
        raise RecipeError(f"{FIELD}: is null, so that no adapter is wanted; set it to {{base: MODEL}}")
    return recipe.tier3.adapter


def base_of(recipe: Recipe) -> tuple[str, str | None]:
    """The model that adapters are trained for, a folder or Hub name, and its revision.

    Errors: RecipeError where neither the section nor the teacher names one.
    """
    if base := adapter_of(recipe).base:
        return base, None
    teacher = recipe.teacher
    if isinstance(teacher, Teacher):
        if here := teacher.transformers or teacher.vllm_engine:
            return here.model, here.revision
        if teacher.vllm and teacher.vllm.serve:
            return teacher.vllm.serve, teacher.vllm.revision
    which = "teacher is rules" if teacher == "rules" else "servers do not tell where the weights of their model lie"
    raise RecipeError(f"{FIELD}.base: is null, and {which}; set base to a folder or a name on the Hugging Face Hub")


def domain_texts(recipe: Recipe, domain: Domain, most: int, further: pa.Array | None = None) -> DomainTexts:
    """Texts of a domain out of its seeds, edited as the corpus is, parted by their hashes; `most` to train on.

    A tenth of them is held out, at most 200. Where the seeds are fewer than `most`, some of `further` are trained on
    too: texts of the domain from the corpus, with its edits made. What is held out does not depend on these, but for
    texts that nearly stand in one that is trained on: they are left out.

    Errors: InputError for files that cannot be read or hold no text, and where nothing is left to hold out.
    """
    field = f"tier3.domains.{domain.name}.seeds"
    editors = resolve_editors(recipe.tier1)
    mask = np.uint64(sampling_mask(recipe.seed, "adapter"))
    kept = EMPTY
    for path in side_files(domain.seeds, field, "texts of a domain"):
        for table in tables_of(path, field):
            texts = texts_in(table, recipe.input.column, field, path)
            texts = texts.filter(pc.fill_null(is_utf8(texts), False))
            if editors:
                texts = apply_edits(texts, find_edits(texts, editors))
            kept = least_keys(pa.concat_tables([kept, _keyed(texts, mask)]), most + MOST_HELDOUT)
    if len(kept) < 2:
        raise InputError(f"{field}: {len(kept)} different texts are too few to train on some and hold out others")
    parted = min(MOST_HELDOUT, max(1, len(kept) // HELDOUT_SHARE))
    heldout, training = kept[:parted], kept[parted : parted + most]
    if further is not None and len(training) < most:
        more = least_keys(_keyed(further, mask), most + len(kept))
        more = more.filter(pc.invert(pc.is_in(more["key"], kept["key"].combine_chunks())))
        training = pa.concat_tables([training, more[: most - len(training)]])
    leaked = leaks(heldout["text"].combine_chunks(), [training["text"].combine_chunks()])["heldout"].to_pylist()
    left = [text for k, text in enumerate(heldout["text"].to_pylist()) if k not in set(leaked)]
    if not left:
        raise InputError(
            f"{field}: nothing is left to hold out: of each held-out text {LEAK:.0%} or more stands in one that is "
            "trained on; name files with more different texts"
        )
    return DomainTexts(tuple(training["text"].to_pylist()), tuple(left))


def _keyed(texts: pa.Array, mask: np.uint64) -> pa.Table:
    """Texts that are not blank, with the keys by which they are drawn."""
    texts = texts.cast(pa.large_string())
    texts = texts.filter(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(pc.fill_null(texts, ""))), 0))
    return pa.table({"key": hash_texts(texts)[1].to_numpy() ^ mask, "text": texts})
