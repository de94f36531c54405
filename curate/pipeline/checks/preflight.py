"""Refuse a recipe that names what does not exist: files, rule sets, languages, exports, models.

This takes less than a second, before kernels are imported, workers start or JSON lines are converted, so the module
imports neither numba nor DuckDB. The contents of files are checked where they are opened.
"""

from collections.abc import Iterator
from pathlib import Path

from curate.corpus.inputs import InputListing, find_inputs
from curate.corpus.side_files import side_files
from curate.errors import InputError, RecipeError, RunError, did_you_mean
from curate.filters.language.names import model_codes, suggest_code
from curate.filters.rules import set_names
from curate.ledger.runs import not_a_run
from curate.manifests.export.format_names import MODULES
from curate.recipe.recipe import Recipe
from curate.recipe.teacher import Servers, Teacher
from curate.recipe.tier1 import DEFAULT_MODEL


def check_names(recipe: Recipe) -> InputListing:
    """Check all names in a recipe, without opening files; return the listed input.

    Errors: RecipeError; InputError for missing files of text; RunError for a folder that is no run.
    """
    for name in recipe.export:
        if name not in MODULES:
            raise RecipeError(f"export: {name}: no such format{did_you_mean(name, MODULES)}")
    for rule in recipe.tier1.rules:
        if isinstance(rule, str) and rule not in set_names():
            raise RecipeError(f"tier1.rules: no rule set {rule!r}{did_you_mean(rule, set_names())}")
    _check_languages(recipe)
    for name in recipe.exclude:
        _check_file(name, "exclude", "name its files")
    for entry in recipe.tier1.block:
        if (file := entry.words or entry.urls) is not None:
            _check_file(file, f"tier1.block: {entry.reason}", "name its file")
    _check_models(recipe)
    for field, run in [*(("dedup.against", run) for run in recipe.dedup.against), ("models.pin", recipe.models.pin)]:
        if run is not None and "://" not in run and not Path(run).is_dir():
            raise RunError(f"{field}: {not_a_run(Path(run), 'manifest.json')}")
    for patterns, field, kind in _side_files(recipe):
        side_files(patterns, field, kind)
    return _inputs(recipe)


def _check_languages(recipe: Recipe) -> None:
    """Refuse codes of languages that the model cannot identify."""
    section, perplexity = recipe.tier1.language, recipe.tier1.perplexity
    bounds = section.min_confidence if section and isinstance(section.min_confidence, dict) else {}
    for field, codes in (("keep", section.keep or [] if section else []), ("min_confidence", bounds)):
        for code in codes:
            if code not in model_codes():
                raise RecipeError(f"tier1.language.{field}: the model knows no language {code!r}{suggest_code(code)}")
    for code in perplexity.model if perplexity and isinstance(perplexity.model, dict) else ():
        if code not in model_codes():
            raise RecipeError(f"tier1.perplexity.model: no language {code!r}{suggest_code(code)}")


def _check_models(recipe: Recipe) -> None:
    """Refuse models named by a path that does not exist; the Hub is not queried here."""
    if section := recipe.tier1.perplexity:
        for name in [section.model] if isinstance(section.model, str) else section.model.values():
            if name and name != DEFAULT_MODEL:
                _check_file(name, "tier1.perplexity.model", "name its file")
    vectors = recipe.distill.vectors if recipe.distill and recipe.models.pin is None else "hashed"
    if vectors != "hashed":
        _check_folder(vectors.static, "distill.vectors.static", "; name one, or a model on the Hugging Face Hub")
    if isinstance(recipe.teacher, Teacher) and (recipe.tier3 or (recipe.tier2 and recipe.models.pin is None)):
        for kind in type(recipe.teacher).model_fields:
            for field in ("model", "serve"):  # for running servers, `model` is only the name that they serve
                served = isinstance(section := getattr(recipe.teacher, kind), Servers) and field == "model"
                if (model := getattr(section, field, None)) is not None and not served:
                    _check_folder(model, f"teacher.{kind}.{field}")
    if recipe.tier3 and recipe.tier3.adapter and (base := recipe.tier3.adapter.base):
        _check_folder(base, "tier3.adapter.base")


def _check_folder(model: str, field: str, advice: str = "") -> None:
    """Refuse a model whose name is a path, not a name on the Hub, and does not exist."""
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    if is_path and not Path(model).expanduser().is_dir():
        raise RecipeError(f"{field}: {model}: no such folder{advice}")


def _side_files(recipe: Recipe) -> Iterator[tuple[list[str], str, str]]:
    """Yield the patterns of side files, the field that names them, and what they hold."""
    if (recipe.tier2 or recipe.distill) and recipe.models.pin is None:
        yield recipe.reference, "reference", "reference texts"
    if recipe.evaluate:
        yield recipe.evaluate.heldout, "evaluate.heldout", "held-out texts"
    if recipe.tier1.decontaminate:
        yield recipe.tier1.decontaminate.against, "tier1.decontaminate.against", "evaluation sets"
    if recipe.distill and recipe.distill.grades and "grades" in (recipe.distill.scores or ()):
        yield [recipe.distill.grades], "distill.grades", "graded texts"
    for domain in recipe.tier3.domains if recipe.tier3 else ():
        yield domain.seeds, f"tier3.domains: {domain.name}", "seeds"


def _check_file(name: str, field: str, advice: str) -> None:
    """Refuse a missing file; an empty name is refused where the file is opened."""
    path = Path(name).expanduser()
    if name and not path.is_file():
        raise RecipeError(f"{field}: {name}: {f'a folder; {advice}' if path.is_dir() else 'no such file'}")


def _inputs(recipe: Recipe) -> InputListing:
    """List the input; refuse paths that match nothing or have another format."""
    for entry in recipe.input.entries():
        dataset = entry.dataset
        if dataset is not None and dataset.startswith((".", "/", "~")) and not Path(dataset).expanduser().exists():
            raise InputError(f"input.paths: {dataset}: no such folder; name one, or a dataset on the Hugging Face Hub")
    return find_inputs(recipe.input, recipe.run_directory)
