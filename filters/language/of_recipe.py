"""Open and check the language models of a recipe."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from curate.corpus.side_files import content_of
from curate.errors import RecipeError, did_you_mean
from curate.filters.language.forms import CCNET, FORMS, lines_in_form, pieces_beside
from curate.filters.language.model import LanguageModel, check, form_of, identity_of
from curate.filters.language.names import model_codes, suggest_code
from curate.filters.language.packed import PACKAGED, cached_binary
from curate.recipe.tier1 import DEFAULT_MODEL, Perplexity

FIELD = "tier1.perplexity.model"


def open_models(section: Perplexity) -> tuple[LanguageModel, ...]:
    """Open the models of a recipe.

    Errors: RecipeError for one that is missing, cannot be read, or has no known form.
    """
    return tuple(_open_model(section, language, name) for language, name in _models_by_language(section))


def _models_by_language(section: Perplexity) -> Iterator[tuple[str | None, str]]:
    """The language and the name or path of each model."""
    if isinstance(section.model, str):
        yield ("en" if section.model == DEFAULT_MODEL else None), section.model
        return
    if not section.model:
        raise RecipeError(f"{FIELD}: is empty; name a model, as in {{en: default}}")
    for language, name in section.model.items():
        if language not in model_codes():
            raise RecipeError(f"{FIELD}: no language {language!r}{suggest_code(language)}")
        if name == DEFAULT_MODEL and language != "en":
            raise RecipeError(f"{FIELD}: {language}: the packaged model is for English; name one for {language}")
        yield language, name


def _open_model(section: Perplexity, language: str | None, name: str) -> LanguageModel:
    if not name:
        raise RecipeError(f"{FIELD}: an empty path; name a model, or leave it out for the packaged one")
    packaged = name == DEFAULT_MODEL
    path = cached_binary(PACKAGED) if packaged else Path(name).expanduser().absolute()
    if not path.is_file():
        raise RecipeError(f"{FIELD}: {name}: {'a folder; name its file' if path.is_dir() else 'no such file'}")
    if path.suffix == ".gz":
        raise RecipeError(f"{FIELD}: {name}: packed; unpack it first, as KenLM reads no .gz here")
    check(str(path), FIELD)
    form_of_file = form_of(str(path))
    if form_of_file is None and section.form is None:
        raise RecipeError(
            f"{FIELD}: {name}: its file does not tell what text it reads; set tier1.perplexity.form to words-1, "
            "plain-1 or ccnet-1"
        )
    if form_of_file and section.form not in (None, form_of_file):
        raise RecipeError(f"tier1.perplexity.form: {section.form}, but {name} reads {form_of_file}; leave form out")
    form = form_of_file or section.form
    if form not in FORMS:
        raise RecipeError(f"{FIELD}: {name}: reads text in the form {form!r}{did_you_mean(str(form), FORMS)}")
    files = [path]
    if form == CCNET:
        files.append(pieces_beside(str(path)))
        lines_in_form(pa.array(["a"]), form, str(path))  # check now that the sentencepiece model can be read
    return LanguageModel(str(path), content_of(files, FIELD), form, identity_of(str(path)), language, packaged)
