"""What is handed on of hostile names and values: cards stay text, exports stay in their folder, fields stay fields."""

import importlib.util
import json
import re

import pytest
import yaml
from markdown_it import MarkdownIt
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from tokenizers import Tokenizer, models

from curate.engine.base import InProcess
from curate.errors import RunError
from curate.manifests.cards.card import card
from curate.manifests.cards.croissant import croissant
from curate.manifests.cards.openlineage import events
from curate.manifests.export.export import export
from curate.manifests.export.format import all_formats, options_of
from curate.manifests.export.sources import open_source
from curate.manifests.schema.reading import read_manifest, read_run_facts
from curate.progress import unwritten_log
from curate.storage.files import write_sealed

MARKUP = [
    "</td><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[ref]",
    "![x](http://h/x.png)", "\n---\nlicense: mit\n---\n", "\n\n# Heading\n", "| a | b |", "```\ncode", "    indented",
    "- item", "1. item", "> quote", "x\\|y", "a\u202eb", "\x1b[31m", "x" * 5000, "\u2028---\u2028", "\x85---\x85",
    "{{ jinja }}", "&lt;script&gt;", "&#60;b&#62;", "<!-- ", "*b*", "__b__", "~~s~~", "a`b", "===", "---", "* * *",
    "setext\n===", "[ref]: http://h", "<http://h>", "$x$", "H~2~O",
]  # fmt: skip
PATHS = [
    "../../../out", "/tmp/out", "C:\\out", "..", ".", "a/b", "~", "\0out", "-rf", "con", "a.b.c", "train", "y" * 300,
]  # fmt: skip
FRONT = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\r|\n|$))")  # as the Hub finds it
TAGS = {"code", "em", "h1", "h2", "li", "p", "pre", "table", "tbody", "td", "th", "thead", "tr", "ul"}
HEADS = {"Composition", "What was dropped", "Quality", "Licences", "Limits", "Columns", "How to make it again"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run with hostile ids, sources, licences, strata, columns and a file's name."""
    folder = tmp_path_factory.mktemp("hostile")
    odd = MARKUP + PATHS
    marks = [odd[k % len(odd)] for k in range(2 * len(odd))]
    columns = {name: marks for name in odd if "\0" not in name}
    ids = [f"{mark}{k}" for k, mark in enumerate(marks)]
    texts = [f"{mark} {PROSE} {k}" for k, mark in enumerate(marks)]
    write_shard(folder / "in" / "a<b>[c](d).parquet", texts, id=ids, source=marks, license=marks, **columns)
    recipe, run = write_recipe(folder, folder / "in")
    carry_out(recipe, "input.id=id", f"input.strata={json.dumps(['source', *MARKUP[:9]])}")
    return run


def front_of(text):
    found = FRONT.match(text)
    return yaml.safe_load(found[2]), text[found.end() :]


def test_the_card_of_hostile_values_has_our_fields_and_our_elements_alone(hostile):
    fields, body = front_of(card(read_manifest(hostile)))
    assert set(fields) == {"pretty_name", "license", "size_categories", "tags", "configs", "dataset_info"}
    assert fields["license"] == "other"
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(body)
    assert set(re.findall(r"<(\w+)", page)) <= TAGS
    assert set(re.findall(r"<h2>(.*?)</h2>", page)) == HEADS
    assert re.findall(r"<h1>(.*?)</h1>", page) == ["test"]


def test_croissant_and_lineage_of_hostile_values_are_json_with_our_fields(hostile):
    manifest = read_manifest(hostile)
    found = croissant(manifest)
    names = [field["name"] for field in found["recordSet"][0]["field"]]
    assert names == [column.name for column in manifest.schema_]
    identities = [field["@id"] for field in found["recordSet"][0]["field"]]
    assert len(set(identities)) == len(identities)
    assert all(re.fullmatch(r"train/[\w.~%-]+", one, re.ASCII) for one in identities)
    told = events(manifest, read_run_facts(hostile), str(hostile))
    assert [event["eventType"] for event in json.loads(json.dumps(told))] == ["START", "COMPLETE"]


def formats():
    return [
        pytest.param(one, marks=[] if all(map(importlib.util.find_spec, one.needs)) else pytest.mark.skip("no library"))
        for one in all_formats()
        if one.of_shards
    ]


@pytest.mark.parametrize("found", formats(), ids=lambda one: one.name)
def test_no_value_of_a_document_names_a_file_of_an_export(hostile, tmp_path, found):
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "<end>": 1}, unk_token="[UNK]"))
    words.save(str(tmp_path / "tokenizer.json"))
    before = sorted(path for path in hostile.parent.rglob("*") if path.is_file())
    given = (str(tmp_path / "tokenizer.json"), "<end>") if found.tokens else (None, None)
    out = tmp_path / "out"
    [record] = export(
        (open_source(hostile),), [found.name], out, options_of("20%", *given), InProcess(), unwritten_log(True)
    )
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    named = {f"out/{found.name}/{file.path}" for file in record.files}
    assert written == named | {"tokenizer.json", f"out/{found.name}/export.json"}
    assert all(re.fullmatch(r"[A-Za-z0-9_./-]+", name) and ".." not in name for name in written)
    assert before == sorted(path for path in hostile.parent.rglob("*") if path.is_file())
    for path in out.rglob("*.yaml"):
        assert yaml.safe_load(path.read_text())
    for path in out.rglob("README.md") if found.name in ("hf", "jsonl") else ():
        assert set(front_of(path.read_text())[0]) <= {
            "pretty_name", "license", "size_categories", "tags", "configs", "dataset_info", "language"
        }  # fmt: skip
    assert sum(one.documents for one in record.splits.values()) == 2 * len(MARKUP + PATHS)


@pytest.mark.parametrize(
    "name", ["x\nmodel_name_or_path: theirs", "../../theirs", "/theirs", "'''\nimport os\n'''", "x\0", "x\n", ""]
)
def test_a_run_whose_name_would_begin_a_field_of_a_training_is_refused(hostile, name):
    content = (hostile / "manifest.json").read_bytes()
    try:
        write_sealed(hostile / "manifest.json", json.loads(content) | {"name": name})
        with pytest.raises(RunError, match="its field 'name' is not as it was written"):
            open_source(hostile)
    finally:
        (hostile / "manifest.json").write_bytes(content)
