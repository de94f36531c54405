"""Names and values out of the data, whatever they hold: no SQL of theirs runs, and no file of theirs is written."""

import json
import tarfile
import unicodedata

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import carry_out, refused, told_by
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import corpus_rows, documents
from support.soak import drawn, some

from curate.engine.base import InProcess
from curate.errors import CurateError, InputError, RecipeError
from curate.ledger.run import connect
from curate.manifests.export.export import export
from curate.manifests.export.format import Options
from curate.manifests.export.sources import open_source
from curate.manifests.verify import verify
from curate.progress import unwritten_log
from curate.recipe.load import load_recipe
from curate.sql import literal, quoted, read_parquet
from curate.storage.files import write_sealed

INJECTIONS = [
    "x'; DROP TABLE decisions; --", 'x"; DROP TABLE decisions; --', "x') OR 1=1 --", "a\nb", "a\tb", "{}", "%s", "$1",
    "?", "../../etc/passwd", "/etc/passwd", "..", ".", "~", "a/b", "a\\b", "con", "-rf", "--", "*", "[a]",
    "a,b", "\u202ecod", "e\u0301", "\u00e9", "\ufeffx", "\U0001f600", "x" * 200, " x ", "NULL", "true",
    "select", "\x7f", "\x1b[31m",
]  # fmt: skip


def listing(folder):
    """Every file below a folder but those of runs."""
    return sorted(path for path in folder.rglob("*") if "run" not in path.relative_to(folder).parts)


@some(100)
@given(st.text(max_size=20) | st.sampled_from(INJECTIONS))
def test_a_text_is_one_literal_and_a_name_one_identifier(text):
    with duckdb.connect() as connection:
        if "\0" not in text:
            assert connection.execute(f"SELECT {literal(text)}").fetchall() == [(text,)]
        if text and "\0" not in text:
            found = connection.execute(f"SELECT 1 AS {quoted(text)}")
            assert found.description[0][0] == text


def every_plane(count=300):
    """Characters of all planes and categories."""
    draw = drawn("unicode")
    chosen = [chr(plane * 0x10000 + draw.randrange(0x10000)) for plane in range(17) for _ in range(count // 17)]
    by_category = {unicodedata.category(chr(code)): chr(code) for code in range(0, 0x110000, 7)}
    return [c for c in {*chosen, *by_category.values(), "\0", "\ufffe", "\uffff"} if not 0xD800 <= ord(c) <= 0xDFFF]


def test_every_plane_of_unicode_goes_through_texts_ids_and_columns(tmp_path):
    marks = sorted(every_plane())
    texts = [f"{PROSE} {mark}{mark} {k}" for k, mark in enumerate(marks)]
    ids = [f"{mark}-{k}" for k, mark in enumerate(marks)]
    write_shard(tmp_path / "in" / "a.parquet", texts, id=ids, source=marks)
    tier1 = {"rules": ["gopher", "c4", "fineweb", "refinedweb", "broken_text"], "pii": "redact", "language": {}}
    recipe, run = write_recipe(
        tmp_path, tmp_path / "in", tier1=tier1, dedup={"near": {}, "lines": {}}, allow_empty=True
    )
    carry_out(recipe, "input.id=id", "input.strata=[source]", "tier1.perplexity={}")
    assert [doc_id for (doc_id,) in documents(run, "doc_id")] == ids
    with connect(run) as connection:
        assert [
            mark for (mark,) in connection.execute("SELECT input.source FROM corpus ORDER BY row").fetchall()
        ] == marks


@pytest.mark.parametrize("names", [INJECTIONS[:12], INJECTIONS[12:24], INJECTIONS[24:]], ids=["sql", "paths", "odd"])
def test_columns_reasons_strata_and_ids_with_odd_names_are_names_and_no_more(tmp_path, names):
    names = [name for name in names if name not in ("a\\b",)]
    texts = [f"{PROSE} {k}" * (1 + k % 3) for k in range(40)]
    columns = {name: [f"{name}{k % 2}" for k in range(40)] for name in names}
    write_shard(tmp_path / "in" / "a.parquet", texts, key=[f"{names[k % len(names)]}{k}" for k in range(40)], **columns)
    rules = [{"reason": "short", "when": f"n_words < 50 AND input.{quoted(names[0])} <> {literal(names[-1])}"}]
    recipe, run = write_recipe(
        tmp_path, tmp_path / "in", tier1={"rules": rules, "perplexity": {}}, export=["hf", "jsonl"]
    )
    before = listing(tmp_path)
    carry_out(recipe, "input.id=key", f"input.strata={json.dumps(names[:2])}", "distill.keep_tokens=50%")
    assert listing(tmp_path) == before
    assert verify(run, 1, unwritten_log(True)) == []
    with connect(run) as connection:
        fields = ", ".join(f"input.{quoted(name)}" for name in names)
        rows = connection.execute(f"SELECT {fields} FROM corpus ORDER BY row").fetchall()
    assert rows == [tuple(f"{name}{k % 2}" for name in names) for k in range(40)]


def test_odd_reasons_are_values_or_refused(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(4)], k=[0, 1, 2, 3])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", allow_empty=True)
    taken = []
    for reason in INJECTIONS:
        rule = {"reason": reason, "when": f"input.k = {len(taken)}"}
        try:
            load_recipe(recipe, [f"tier1.rules={json.dumps([rule])}"])
        except RecipeError as error:
            told_by(error)
        else:
            taken.append(rule)
    before = listing(tmp_path)
    carry_out(recipe, f"tier1.rules={json.dumps(taken)}")
    assert [reason for (reason,) in documents(run, "reason")] == ["con", "x" * 200, "true", "select"]
    assert listing(tmp_path) == before


def test_odd_file_names_are_read_and_told_as_they_are(tmp_path):
    odd = [name for name in INJECTIONS if "/" not in name and name not in ("..", ".")]
    names = [f"{k}/{name}.parquet" for k, name in enumerate(odd)]  # some are one name to some file systems
    for k, name in enumerate(names):
        write_shard(tmp_path / "in" / name, [f"{PROSE} {k}"], name=[name])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    before = listing(tmp_path)
    carry_out(recipe)
    assert sorted(corpus_rows(run, "file, input.name")) == sorted((name, name) for name in names)
    assert sorted(file for (file,) in documents(run, "file")) == sorted(names)
    told = [file["path"] for file in json.loads((run / "manifest.json").read_text())["inputs"]]
    assert sorted(told) == sorted(names)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["a\\[b].parquet", "a[\\b/c.parquet", "*\\.parquet"])
def test_a_file_name_that_no_query_can_tell_is_refused_before_anything_is_read(tmp_path, name):
    write_shard(tmp_path / "in" / name, [PROSE])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    assert "rename it" in refused(recipe, InputError)
    assert not (run / "ledger" / "snapshot.json").exists()


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "..", "a/b", "", ".", "\0"])
@pytest.mark.parametrize(
    "field", ["tier3={{domains: [{{name: {}, seeds: [s.parquet], target_tokens: 5}}]}}", "export=[{}]"]
)
def test_no_name_in_a_recipe_leads_out_of_the_run_directory(tmp_path, good, field, name):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", allow_empty=True)
    before = listing(tmp_path)
    with pytest.raises(RecipeError) as caught:
        carry_out(recipe, field.format(json.dumps(name)))
    told_by(caught.value)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("absolute", [True, False])
def test_no_path_of_an_earlier_manifest_ledger_or_export_leads_out_of_its_folder(tmp_path, good, absolute):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", export=["jsonl"])
    carry_out(recipe)
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    path = str(precious) if absolute else "../../../precious.txt"
    listed = json.loads((run / "export" / "jsonl" / "export.json").read_text())
    listed["files"] = [listed["files"][0] | {"path": path}]
    listed["digest"] = "other"
    write_sealed(run / "export" / "jsonl" / "export.json", listed)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["shards"][0]["path"] = path
    write_sealed(run / "manifest.json", manifest)
    with pytest.raises(CurateError, match="outside of the run directory"):
        open_source(run)
    for act in (lambda: verify(run, 1, unwritten_log(True)), lambda: open_source(run), lambda: carry_out(recipe)):
        try:
            act()
        except CurateError as error:
            told_by(error)
    snapshot = json.loads((run / "ledger" / "snapshot.json").read_text())
    write_sealed(run / "ledger" / "snapshot.json", snapshot | {"superseded": [str(precious)]})
    assert "outside of the run directory" in refused(recipe, CurateError)
    assert precious.read_text() == "mine"


def test_members_of_a_tar_are_named_by_us_whatever_the_documents_are_called(tmp_path):
    ids = [f"{name}{k}" for k, name in enumerate(INJECTIONS)]
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(len(ids))], id=ids)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe, "input.id=id")
    export((open_source(run),), ["webdataset"], tmp_path / "out", Options(), InProcess(), unwritten_log(True))
    members = []
    for path in (tmp_path / "out").rglob("*.tar"):
        with tarfile.open(path) as tar:
            members += tar.getnames()
    assert members
    assert all("/" not in name.strip("/") or ".." not in name.split("/") for name in members)
    assert not [name for name in members if name.startswith(("/", "..", "~")) or "\\" in name]


def test_a_link_out_of_a_folder_is_read_and_never_written_through(tmp_path):
    outside = write_shard(tmp_path / "elsewhere" / "a.parquet", [PROSE])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.parquet").symlink_to(outside)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "nowhere.parquet").symlink_to(tmp_path / "gone.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "nowhere.parquet" in refused(recipe, CurateError)
    (tmp_path / "in" / "nowhere.parquet").unlink()
    before = outside.read_bytes()
    assert carry_out(recipe)["documents_in"] == 1
    assert outside.read_bytes() == before


def test_a_pattern_of_a_thousand_marks_does_not_hang(tmp_path, good):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    pattern = str(tmp_path / "in" / ("*a" * 30 + "b*.parquet"))
    with pytest.raises(CurateError, match="matches no file"):
        carry_out(recipe, f"input.paths={json.dumps([pattern])}")
    assert load_recipe(recipe).name == "test"


def test_the_glob_marks_of_a_name_are_letters_to_the_database(tmp_path):
    for name in ("[a].parquet", "a.parquet"):
        pq.write_table(pa.table({"x": [name]}), tmp_path / name)
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT x FROM {read_parquet([tmp_path / '[a].parquet'])}").fetchall()
    assert found == [("[a].parquet",)]


@pytest.mark.parametrize("mark", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\x1b[2J"])
def test_no_name_ends_the_line_of_an_error(tmp_path, mark):
    path = tmp_path / "in" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({f"te{mark}xt": ["a"]}), path)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "no column 'text' (has: te" in refused(recipe, InputError)
