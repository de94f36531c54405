"""Recipes that nobody should write: refused in one line, soon, and in little memory."""

import random
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from support.commands import carry_out, told_by
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.soak import some

from curate.errors import CurateError, RecipeError
from curate.recipe.load import load_recipe, parse_recipe
from curate.recipe.recipe import Recipe

NINE = ",".join(["{}"] * 9)
LAUGHS = "name: x\na0: &a0 [x]\n" + "".join(f"a{k}: &a{k} [{NINE.replace('{}', f'*a{k - 1}')}]\n" for k in range(1, 30))
DEEP = "name: x\na0: &a0 []\n" + "".join(f"a{k}: &a{k} [*a{k - 1}]\n" for k in range(1, 3000))
ODD_FILES = {
    "laughs": LAUGHS, "deep": DEEP, "itself": "a: &a\n  b: *a\nname: x", 
    "python": "!!python/object/apply:os.system ['x']",
    "list": "- a", "nul": "\0", "set": "name: !!set {a}\n", "merge": "name: x\n<<: [1]", "twice": "name: x\nname: y",
    "documents": "---\na: 1\n---\nb: 1", "date": "2024-01-01: 2", "number": "name: 0x" + "f" * 3000, 
    "keys": "? [a]\n: b",
    "surrogate": 'name: "\\ud800"\ninput: {paths: [a]}', "beyond": 'name: "\\U00110000"', "null": "~: x\nname: x",
    "flow": "name: " + "[" * 100_000, "json": "name: x\ndedup: " + "{a: " * 250 + "1" + "}" * 250,
    "merged": "a: &a {name: y}\n<<: *a\nname: x", "merged laughs": "a0: &a0 {b: 1}\n" + "".join(
        f"a{k}: &a{k} {{<<: [{NINE.replace('{}', f'*a{k - 1}')}]}}\n" for k in range(1, 30)),
    "large": "name: " + "x" * 20_000_000, "sexagesimal": "name: x\nseed: 1" + ":59" * 30_000 + ".5",
    "no time": "name: x\nseed: !!timestamp x", "no bool": "name: x\nseed: !!bool x", "no int": "seed: !!int ''",
    "no sign": "name: !!int '-'", "no float": "name: !!float ''", "no map": "name: x\ninput: !!map [a]",
    "no set": "name: x\ninput: !!set [a]", "digits": "name: x\nseed: " + "9" * 5000,
    "unicode": "n\u0430me: x\ninput: {paths: [a]}", "bidi": "\u202ename: x", "null in name": '"na\\0me": x',
}  # fmt: skip
ODD_VALUES = [
    None, True, -1, 2**70, 1.5, float("nan"), float("inf"), "", "../../..", "\u202e", "';DROP TABLE x", [], {}, [[]],
    {"a": {}}, [None], "9" * 30, "1e400%", "nan", "-5%", "5 apples", "\0", "~", ["a", 1], {"a": 1, "b": [1]}, "*",
    "[z-a]",
    "s3://", "hf://", "file://", 10**4000, "9" * 400, "9" * 400 + "GB", "9" * 5000 + "%", "1" + "0" * 400 + "k",
    "\U0001f600", "a\nb",
]  # fmt: skip


def fields_of(model, prefix=()):
    """Every field of the recipe, by the names that lead to it."""
    for name, field in model.model_fields.items():
        place = (*prefix, field.alias or name)
        yield place
        if len(prefix) < 3:
            for section in sections_in(field.annotation):
                yield from fields_of(section, place)


def sections_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in getattr(annotation, "__args__", ()) for section in sections_in(inner)]


FIELDS = sorted(set(fields_of(Recipe)))


@pytest.mark.parametrize("text", ODD_FILES.values(), ids=ODD_FILES)
def test_an_odd_file_is_told_in_one_line_and_soon(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text, "utf-8")
    began = time.monotonic()
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "r.yaml" in told_by(caught.value)
    assert len(str(caught.value)) < 1000
    assert "r.yaml: :" not in str(caught.value)
    assert time.monotonic() - began < 30


@some(150)
@given(st.sampled_from(FIELDS), st.sampled_from(ODD_VALUES) | st.text(max_size=6) | st.integers() | st.floats())
def test_an_odd_value_of_any_field_is_taken_or_told_in_one_line(place, value):
    fields = {"name": "x", "input": {"paths": ["in"]}}
    inner = fields
    for name in place[:-1]:
        inner[name] = inner = inner[name] if isinstance(inner.get(name), dict) else {}
    inner[place[-1]] = value
    try:
        parse_recipe(fields, "r.yaml").digest()
    except CurateError as error:
        told_by(error)
        assert len(str(error)) < 2000


@pytest.mark.parametrize(
    "value", ["!!timestamp x", "!!int ''", "!!bool x", "[" * 5000, "9" * 5000, "{a," + "a," * 9999]
)
def test_an_odd_value_that_is_set_is_told_in_one_line(tmp_path, value):
    path = tmp_path / "r.yaml"
    path.write_text("name: x\ninput: {paths: [in]}", "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, [f"seed={value}"])
    told_by(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "value", ["9" * 400, "9" * 400 + "GB", "9" * 5000 + "%", 10**4000, -(10**4000), "1" * 999 + "k"]
)
def test_a_number_of_a_thousand_digits_is_taken_or_told_in_one_line(value):
    for place in FIELDS:
        fields = {"name": "x", "input": {"paths": ["in"]}}
        inner = fields
        for name in place[:-1]:
            inner[name] = inner = inner[name] if isinstance(inner.get(name), dict) else {}
        inner[place[-1]] = value
        try:
            parse_recipe(fields, "r.yaml").digest()
        except CurateError as error:
            told_by(error)
            assert len(str(error)) < 1000, place


@pytest.mark.parametrize("name", ["Name", "NAME", "str", "int", "a[b]", "constrained-str", "\x1b[31m", "", "list[int]"])
@pytest.mark.parametrize("section", [(), ("dedup",), ("tier1", "language"), ("distill", "quotas")])
def test_a_field_that_is_named_like_a_type_is_an_unknown_field(section, name):
    fields = {"name": "x", "input": {"paths": ["in"]}}
    inner = fields
    for part in section:
        inner[part] = inner = {}
    inner[name] = 1
    with pytest.raises(RecipeError, match=f"{section[-1] if section else 'the recipe'} has no field"):
        parse_recipe(fields, "r.yaml")


def test_what_is_taken_is_carried_out_or_told_in_one_line_and_writes_nowhere_else(tmp_path):
    texts = [f"{PROSE} {k}" for k in range(6)]
    write_shard(tmp_path / "in" / "a.parquet", texts, id=[str(k) for k in range(6)])
    draw = random.Random(3)
    outside = sorted(path.name for path in tmp_path.iterdir())
    for k in range(20):
        place, value = draw.choice(FIELDS), draw.choice(ODD_VALUES)
        recipe, _ = write_recipe(tmp_path / "", tmp_path / "in", allow_empty=True)
        fields = inner = yaml.safe_load(recipe.read_text())
        if place[0] in ("output", "input", "teacher"):
            continue
        for name in place[:-1]:
            inner[name] = inner = inner[name] if isinstance(inner.get(name), dict) else {}
        inner[place[-1]] = value
        fields["output"] = str(tmp_path / "runs" / str(k))
        recipe.write_text(yaml.safe_dump(fields))
        try:
            carry_out(recipe)
        except CurateError as error:
            told_by(error)
        assert {path.name for path in tmp_path.iterdir()} <= {*outside, "recipe.yaml", "runs"}, (place, value)
