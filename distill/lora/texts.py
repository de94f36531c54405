"""Adapters of a recipe's domains: their training texts, base model and folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.edits import apply_edits, find_edits
from curate.corpus.side_files import side_files, tables_of
from curate.corpus.texts import is_utf8
from curate.distill.leaks import LEAK, leaks
from curate.distill.lora.files import AdapterFacts
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
from curate.storage.lock import folder_lock

FOLDER = Path("models") / "adapters"
HELDOUT_FRACTION = 10  # 1 in 10 texts is held out
MAX_HELDOUT = 200
REQUIRED_MODULES = ("lora", "torch", "transformers", "peft")  # the extra to install, and its modules
EMPTY = pa.Table.from_batches([], pa.schema([("key", pa.uint64()), ("text", pa.large_string())]))


@dataclass(frozen=True)
class DomainTexts:
    """Distinct texts of a domain: those to train an adapter on, and those that decide when to stop."""

    training: tuple[str, ...]
    heldout: tuple[str, ...]


def check_models(recipe: Recipe) -> None:
    """Check that the seeds, libraries and model folders of the third tier exist, without loading a model.

    Errors: RecipeError, TeacherError; InputError for missing seeds.
    """
    if recipe.tier3 is None:
        return
    for domain in recipe.tier3.domains:
        side_files(domain.seeds, f"tier3.domains: {domain.name}", "seeds")
    if recipe.tier3.adapter is not None:
        find_model(*base_of(recipe), f"{FIELD}.base")
        require_modules(FIELD, *REQUIRED_MODULES)
    check_teacher(recipe.teacher)


def train_domain(recipe: Recipe, name: str, out: Path | None, log: Log) -> tuple[Path, AdapterFacts]:
    """Train the adapter of a domain on its seeds. Returns its folder, by default in the run directory, and its facts.

    Errors: any CurateError.
    """
    domain, section, base = find_domain(recipe, name), adapter_of(recipe), base_of(recipe)
    require_modules(FIELD, *REQUIRED_MODULES)
    folder = out or folder_of(recipe.run_directory, name)
    with locked(recipe.run_directory) if out is None else folder_lock(folder):
        texts = domain_texts(recipe, domain, section.documents)
        facts = train_adapter(
            texts.training,
            texts.heldout,
            section=section,
            base=base,
            folder=folder,
            seed=recipe.seed,
            log=log,
        )
        return folder, facts


def folder_of(run: Path, name: str) -> Path:
    """The folder of a domain's adapter in a run directory."""
    return run / FOLDER / name


def find_domain(recipe: Recipe, name: str) -> Domain:
    """The domain of this name in a recipe.

    Errors: RecipeError for an unknown name.
    """
    domains = {domain.name: domain for domain in recipe.tier3.domains} if recipe.tier3 else {}
    if name not in domains:
        raise RecipeError(f"tier3.domains: no domain {name!r}{did_you_mean(name, domains)}")
    return domains[name]


def adapter_of(recipe: Recipe) -> Adapter:
    """The recipe's section on adapters.

    Errors: RecipeError where it is null.
    """
    if recipe.tier3 is None or recipe.tier3.adapter is None:
        raise RecipeError(f"{FIELD}: is null, so that no adapter is wanted; set it to {{base: MODEL}}")
    return recipe.tier3.adapter


def base_of(recipe: Recipe) -> tuple[str, str | None]:
    """The base model of adapters (a folder or Hub name), and its revision.

    Errors: RecipeError where neither the section nor the teacher names one.
    """
    if base := adapter_of(recipe).base:
        return base, None
    teacher = recipe.teacher
    if isinstance(teacher, Teacher):
        if local := teacher.transformers or teacher.vllm_engine:
            return local.model, local.revision
        if teacher.vllm and teacher.vllm.serve:
            return teacher.vllm.serve, teacher.vllm.revision
    reason = "teacher is rules" if teacher == "rules" else "servers do not tell where the weights of their model lie"
    raise RecipeError(f"{FIELD}.base: is null, and {reason}; set base to a folder or a name on the Hugging Face Hub")


def domain_texts(recipe: Recipe, domain: Domain, max_training: int, more_texts: pa.Array | None = None) -> DomainTexts:
    """Split the seeds of a domain, edited like the corpus, by their hashes into texts to train on and to hold out.

    A tenth is held out, at most 200. If the seeds are fewer than `max_training`, the training texts are filled up from
    `more_texts`: edited texts of the domain from the corpus. The held-out texts do not depend on these, except that
    those that leak into a training text are removed.

    Errors: InputError for files that cannot be read or have no text, and where no held-out text is left.
    """
    field = f"tier3.domains.{domain.name}.seeds"
    editors = resolve_editors(recipe.tier1)
    mask = np.uint64(sampling_mask(recipe.seed, "adapter"))
    seeds = EMPTY
    for path in side_files(domain.seeds, field, "texts of a domain"):
        for table in tables_of(path, field):
            texts = texts_in(table, recipe.input.column, field, path)
            texts = texts.filter(pc.fill_null(is_utf8(texts), False))
            if editors:
                texts = apply_edits(texts, find_edits(texts, editors))
            seeds = least_keys(pa.concat_tables([seeds, _with_keys(texts, mask)]), max_training + MAX_HELDOUT)
    if len(seeds) < 2:
        raise InputError(f"{field}: {len(seeds)} different texts are too few to train on some and hold out others")
    n_heldout = min(MAX_HELDOUT, max(1, len(seeds) // HELDOUT_FRACTION))
    heldout, training = seeds[:n_heldout], seeds[n_heldout : n_heldout + max_training]
    if more_texts is not None and len(training) < max_training:
        additional = least_keys(_with_keys(more_texts, mask), max_training + len(seeds))
        additional = additional.filter(pc.invert(pc.is_in(additional["key"], seeds["key"].combine_chunks())))
        training = pa.concat_tables([training, additional[: max_training - len(training)]])
    leaked_rows = leaks(heldout["text"].combine_chunks(), [training["text"].combine_chunks()])["heldout"].to_pylist()
    remaining = [text for k, text in enumerate(heldout["text"].to_pylist()) if k not in set(leaked_rows)]
    if not remaining:
        raise InputError(
            f"{field}: nothing is left to hold out: of each held-out text {LEAK:.0%} or more stands in one that is "
            "trained on; name files with more different texts"
        )
    return DomainTexts(tuple(training["text"].to_pylist()), tuple(remaining))


def _with_keys(texts: pa.Array, mask: np.uint64) -> pa.Table:
    """The texts that are not blank, with random keys to sample by."""
    texts = texts.cast(pa.large_string())
    texts = texts.filter(pc.greater(pc.binary_length(pc.utf8_trim_whitespace(pc.fill_null(texts, ""))), 0))
    return pa.table({"key": hash_texts(texts)[1].to_numpy() ^ mask, "text": texts})
