"""The language models of a recipe: where they lie, what they are for, and whether they can be read."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from xxhash import xxh3_128

import curate.models
from curate.errors import RecipeError, did_you_mean
from curate.filters.forms import pieces_beside
from curate.filters.language import known_languages
from curate.filters.language_model import LanguageModel, check, form_of
from curate.filters.packed_model import unpacked
from curate.recipe import Perplexity

FIELD = "tier1.perplexity.model"
DEFAULT = "default"
PACKAGED = Path(curate.models.__path__[0]) / "english.parquet"
READ_BYTES = 1 << 20


def open_models(section: Perplexity) -> tuple[LanguageModel, ...]:
    """The models of a recipe.

    Errors: RecipeError for one that is missing or cannot be read, or whose form nobody tells.
    """
    return tuple(_opened(section, language, name) for language, name in _named(section))


def _named(section: Perplexity) -> Iterator[tuple[str | None, str]]:
    """The language and the name or path of each model."""
    if isinstance(section.model, str):
        yield ("en" if section.model == DEFAULT else None), section.model
        return
    if not section.model:
        raise RecipeError(f"{FIELD}: is empty; name a model, as in {{en: default}}")
    for language, name in section.model.items():
        if language not in known_languages():
            more = did_you_mean(language, known_languages()) or "; codes are as in en, de, zh"
            raise RecipeError(f"{FIELD}: no language {language!r}{more}")
        if name == DEFAULT and language != "en":
            raise RecipeError(f"{FIELD}: {language}: the packaged model is for English; name one for {language}")
        yield language, name


def _opened(section: Perplexity, language: str | None, name: str) -> LanguageModel:
    path = unpacked(PACKAGED) if name == DEFAULT else Path(name).expanduser().absolute()
    if not path.is_file():
        raise RecipeError(f"{FIELD}: {name}: {'a folder; name its file' if path.is_dir() else 'no such file'}")
    content = xxh3_128()
    try:
        told = form_of(str(path))
        for file in (path, *((pieces_beside(str(path)),) if "ccnet-1" in (told, section.form) else ())):
            with file.open("rb") as opened:
                for block in iter(partial(opened.read, READ_BYTES), b""):
                    content.update(block)
    except OSError as error:
        raise RecipeError(f"{FIELD}: {name}: cannot be read: {error.strerror or error}") from None
    if told is None and section.form is None:
        raise RecipeError(
            f"{FIELD}: {name}: its file does not tell what text it reads; set tier1.perplexity.form to words-1, "
            "plain-1 or ccnet-1"
        )
    if told and section.form not in (None, told):
        raise RecipeError(f"tier1.perplexity.form: {section.form}, but {name} reads {told}; leave form out")
    form = told or section.form
    assert form is not None
    check(str(path), FIELD)
    return LanguageModel(str(path), content.hexdigest(), form, language)
