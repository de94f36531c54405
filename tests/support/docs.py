"""What the docs show, and the recipe fields that they must tell of."""

import re

import yaml
from pydantic import BaseModel
from support.paths import ROOT


def text_of(name):
    return (ROOT / "docs" / name).read_text("utf-8")


def blocks(text, language):
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def whole_recipes():
    found = [yaml.safe_load(block) for block in blocks(text_of("recipe.md"), "yaml")]
    return [fields for fields in found if isinstance(fields, dict) and {"name", "input"} <= set(fields)]


def fields_of(model, prefix=""):
    """Dotted name, pydantic's field and whether it is a section, for every field but those inside lists."""
    for name, field in model.model_fields.items():
        place = prefix + (field.alias or name)
        inner = sections_in(field.annotation) if "list" not in str(field.annotation) else []
        yield place, field, bool(inner)
        for section in inner:
            yield from fields_of(section, f"{place}.")


def sections_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in getattr(annotation, "__args__", ()) for section in sections_in(part)]
