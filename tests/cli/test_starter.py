"""`curate init` tells what files are for, and writes a recipe that runs: short, or with every field explained."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.docs import fields_of
from support.starter_folders import fields_written, prose, write_lines

from curate.errors import InputError, RecipeError
from curate.init.folder import sort_files
from curate.init.recipe import write_recipe
from curate.recipe.dedup import Near
from curate.recipe.load import load_recipe
from curate.recipe.recipe import Recipe

GERMAN = "Die Stadt hat heute mitgeteilt, dass der Markt am Freitag wegen des Regens nicht stattfinden kann. "


def opened(text):
    """A recipe with the sections that are off taken out of their comments."""
    while (found := re.sub(r"^( *)# (?=\w+:$|  )", r"\1", text, flags=re.MULTILINE)) != text:
        text = found
    return text


def test_the_written_recipe_runs_on_the_sample(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for path in SAMPLE.glob("*.parquet"):
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    done = command("init", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "input.paths: 4 files, 1,309 rows, texts in column 'text'\n" in done.stdout
    assert done.stdout.endswith("next: curate plan recipe.yaml, then curate run recipe.yaml\n")
    summary = carry_out(tmp_path / "recipe.yaml")
    assert (summary["documents_in"], summary["documents_out"]) == (1309, 773)


def attribute_of(section, field):
    """A field's name in Python, which is another one where that is a word of Python or a method."""
    return next(name for name, info in type(section).model_fields.items() if field in (name, info.alias))


def test_every_field_that_is_built_stands_there_with_its_default_and_no_other(tmp_path):
    write_shard(tmp_path / "data" / "a.parquet", [PROSE])
    write_recipe(tmp_path / "recipe.yaml", tmp_path, full=True)
    (tmp_path / "recipe.yaml").write_text(text := opened((tmp_path / "recipe.yaml").read_text("utf-8")))
    written, default = load_recipe(tmp_path / "recipe.yaml"), yaml.safe_load(text)
    chosen = {
        "name",
        "input.paths",
        "tier1.rules",
        "tier1.decontaminate.against",
        "evaluate.heldout",
        "distill.keep_tokens",
        "tier3.domains",
    }
    for place, field, is_section in fields_of(Recipe):
        if place.startswith(("teacher.", "distill.vectors.")):  # they stand there as one word: rules, hashed
            continue
        *sections, name = place.split(".")
        found = default
        for section in sections:
            found = found.get(section, {})
        has_a_choice = place != "tokenizer"
        assert (name in found) == has_a_choice, place
        if not is_section and has_a_choice:
            assert re.search(rf"^ *#.*(default: |required)[^\n]*\n *{name}:", text, re.MULTILINE), place
            if place not in chosen:
                value = written
                for part in place.split("."):
                    value = getattr(value, attribute_of(value, part))
                assert value == field.get_default(), place


def test_a_section_that_is_off_by_default_is_commented_out_and_runs_when_the_comment_is_taken_away(tmp_path):
    write_shard(tmp_path / "data" / "a.parquet", [PROSE])
    write_recipe(tmp_path / "recipe.yaml", tmp_path, full=True)
    text = (tmp_path / "recipe.yaml").read_text("utf-8")
    assert "\n  # near:\n" in text
    assert "\n  #   threshold: 0.8\n" in text
    assert load_recipe(tmp_path / "recipe.yaml").dedup.near is None
    (tmp_path / "recipe.yaml").write_text(opened(text))
    assert load_recipe(tmp_path / "recipe.yaml").dedup.near == Near()


def test_an_existing_file_is_not_overwritten_but_by_force(tmp_path):
    write_shard(tmp_path / "data" / "a.parquet", [PROSE])
    (tmp_path / "mine.yaml").write_text("mine")
    done = command("init", "mine.yaml", cwd=tmp_path)
    error = "Error: mine.yaml: exists; give another path, or --force to write over it\n"
    assert (done.returncode, done.stderr) == (1, error)
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert command("init", "mine.yaml", "--force", cwd=tmp_path).returncode == 0
    assert load_recipe(tmp_path / "mine.yaml").input.paths == ["data"]
    with pytest.raises(RecipeError, match="cannot be written"):
        write_recipe(tmp_path / "no" / "folder.yaml", tmp_path)
    with pytest.raises(RecipeError, match=r"data: a folder; write the recipe's name before it"):
        write_recipe(tmp_path / "data", tmp_path)


@pytest.mark.parametrize("name", ["run", "plan"])
def test_data_in_place_of_a_recipe_is_answered_with_the_command_that_writes_one(tmp_path, name):
    write_shard(tmp_path / "my data" / "a.parquet", [PROSE, PROSE + " more"])
    (tmp_path / "b.jsonl").write_text('{"text": "One."}\n{"text": "Two."}\n')
    (tmp_path / "runs" / "web" / "ledger").mkdir(parents=True)
    (tmp_path / "runs" / "web" / "recipe.yaml").touch()
    for given, told in (
        ("my data", "a folder, not a recipe; write a recipe for its files: curate init 'my data'"),
        ("my data/a.parquet", "a data file, not a recipe; write a recipe for it: curate init 'my data/a.parquet'"),
        ("b.jsonl", "a data file, not a recipe; write a recipe for it: curate init b.jsonl"),
        ("runs/web", "a run directory, not a recipe; did you mean runs/web/recipe.yaml?"),
    ):
        done = command(name, given, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, f"Error: {given}: {told}\n")


@pytest.mark.parametrize("given", ["data", "data/a.parquet"])
def test_init_with_data_alone_writes_recipe_yaml_for_it(tmp_path, given):
    write_shard(tmp_path / "data" / "a.parquet", [PROSE, PROSE + " more"])
    write_shard(tmp_path / "other" / "b.parquet", [PROSE + " other"])
    before = (tmp_path / "data" / "a.parquet").read_bytes()
    done = command("init", given, "--force", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert load_recipe(tmp_path / "recipe.yaml").input.paths == [given]
    assert (tmp_path / "data" / "a.parquet").read_bytes() == before


def test_for_an_empty_folder_nothing_is_written(tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    done = command("init", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: init: no Parquet or JSON lines file in {tmp_path} (1 .csv there); go to ")
    assert not (tmp_path / "recipe.yaml").exists()


def test_runs_and_hidden_folders_are_no_input(tmp_path):
    write_shard(tmp_path / "runs" / "old" / "data" / "train.parquet", [PROSE])
    (tmp_path / "runs" / "old" / "ledger").mkdir()
    (tmp_path / "runs" / "old" / "ledger" / "snapshot.json").write_text("{}")
    write_shard(tmp_path / ".hidden" / "x.parquet", [PROSE])
    with pytest.raises(InputError, match="no Parquet or JSON lines file"):
        sort_files([tmp_path], tmp_path)


def test_evaluation_sets_held_out_texts_reference_and_seeds_are_told_from_the_corpus(tmp_path):
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 20))
    write_lines(tmp_path / "data" / "books.jsonl", [{"n": k, "content": text} for k, text in enumerate(prose(30, 9))])
    write_shard(tmp_path / "reference" / "good.parquet", prose(50, 5))
    write_shard(tmp_path / "Held-Out" / "a.parquet", prose(60, 5))
    write_shard(tmp_path / "wiki" / "validation-00000-of-00001.parquet", prose(70, 5))
    write_shard(tmp_path / "wiki" / "train-00000-of-00001.parquet", prose(80, 5))
    write_lines(tmp_path / "evals" / "gsm" / "test.jsonl", [{"question": PROSE, "answer": "4"}])
    write_lines(tmp_path / "quiz.jsonl", [{"question": f"{PROSE}?", "choices": ["a", "b"], "answer": 1}])
    write_shard(tmp_path / "seeds" / "law.parquet", prose(90, 5))
    found, said = fields_written(tmp_path)
    assert found["input"] == {
        "paths": ["data/web.parquet", "wiki/train-00000-of-00001.parquet",
                  {"paths": ["data/books.jsonl"], "text": "content"}],
        "text": "text",
    }  # fmt: skip
    assert found["reference"] == ["reference"]
    assert found["evaluate"]["heldout"] == ["Held-Out", "wiki/validation-00000-of-00001.parquet"]
    assert found["tier1"]["decontaminate"]["against"] == ["quiz.jsonl", "evals"]
    assert "input.paths: 3 files, 34 rows, texts in column 'text', 'content' in 1\n" in said
    assert "tier1.decontaminate.against: 2 files, 2 rows (folder evals; columns question, choices)\n" in said
    assert "reference: 1 file, 5 rows (folder reference)\n" in said
    assert "tier3.domains: 1 file, 5 rows (folder seeds)\n" in said
    for line in said.splitlines()[1:-1]:
        assert f"# {line}" in (tmp_path / "recipe.yaml").read_text("utf-8")


def test_the_full_recipe_has_what_was_found_too(tmp_path):
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 9))
    write_shard(tmp_path / "evals" / "x.parquet", prose(20, 9))
    write_shard(tmp_path / "dev" / "x.parquet", prose(40, 9))
    write_recipe(tmp_path / "recipe.yaml", tmp_path, full=True)
    found = load_recipe(tmp_path / "recipe.yaml")
    assert (found.input.paths, found.tier1.decontaminate.against) == (["data"], ["evals"])
    assert found.evaluate.heldout == ["dev"]
    assert found.distill is None


def test_a_file_with_the_texts_of_an_evaluation_set_is_left_out_and_some_in_common_are_told(tmp_path):
    items = prose(0, 40)
    write_shard(tmp_path / "evals" / "items.parquet", items)
    write_shard(tmp_path / "data" / "copy.parquet", [text.upper().replace(" ", "\n") for text in items[:30]])
    write_shard(tmp_path / "data" / "web.parquet", [*prose(100, 30), *items[:3]])
    found, said = fields_written(tmp_path)
    assert found["input"]["paths"] == ["data/web.parquet"]
    where = "evals/items.parquet (tier1.decontaminate.against)"
    assert f"left out: data/copy.parquet: 30 of 30 texts are those of {where}\n" in said
    assert f"overlap: data/web.parquet: 3 of 33 texts are in {where} too\n" in said


def test_what_cannot_be_told_or_read_is_left_out_and_named_or_asked(tmp_path):
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 9))
    write_shard(tmp_path / "old" / "web.parquet", prose(20, 9))
    write_lines(tmp_path / "data" / "pairs.jsonl", [{"question": PROSE, "answer": PROSE}])
    (tmp_path / "data" / "broken.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"id_a": ["a"], "id_b": ["b"]}), tmp_path / "data" / "ids.parquet")
    found, said = fields_written(tmp_path)
    assert found["input"]["paths"] == ["data/web.parquet"]
    assert "left out: old/web.parquet: folder old does not tell what it is for\n" in said
    assert "left out: data/pairs.jsonl: columns question, answer: an evaluation set, or something to" in said
    assert "left out: data/broken.parquet: not a whole Parquet file; truncated, or another format?\n" in said
    assert "left out: data/ids.parquet: no column of texts (has: id_a, id_b)\n" in said
    asked = []
    answers = {"old": "reference", "pairs": "evaluation"}

    def ask(question):
        asked.append(question)
        return next(role for name, role in answers.items() if name in question)

    by_hand = sort_files([tmp_path], tmp_path, ask)
    assert [file.name for file in by_hand.roles["reference"]] == ["old/web.parquet"]
    assert [file.name for file in by_hand.roles["evaluation"]] == ["data/pairs.jsonl"]
    assert len(asked) == 2


def test_the_text_column_is_told_by_its_name_or_by_what_it_holds(tmp_path):
    table = pa.table({"url": ["http://a.example/with/a/rather/long/path/to/it"], "words": [PROSE], "n": [1]})
    for name in ("b/2.parquet", "a/1.parquet"):
        (tmp_path / name).parent.mkdir()
        pq.write_table(table, tmp_path / name)
    found, _ = fields_written(tmp_path)
    assert found["input"] == {"paths": ["a", "b"], "text": "words"}
    write_shard(tmp_path / "top.parquet", [PROSE], long=[PROSE * 9])
    found, _ = fields_written(tmp_path, "--force")
    assert found["input"] == {"paths": ["top.parquet", {"paths": ["a", "b"], "text": "words"}], "text": "text"}


def test_texts_in_structs_bytes_and_lists_of_strings_are_found(tmp_path):
    texts = prose(0, 9)
    for name, column in {
        "nested": {"doc": [{"text": text, "n": 1} for text in texts]},
        "bytes": {"article": [text.encode() for text in texts]},
        "lines": {"paragraphs": [[text, text] for text in texts]},
    }.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(column), tmp_path / name / "a.parquet")
    found = sort_files([tmp_path], tmp_path)
    columns = {file.name: found.column_of(file) for file in found.roles["input"]}
    wanted = {"nested/a.parquet": "doc.text", "bytes/a.parquet": "article", "lines/a.parquet": "paragraphs"}
    assert columns == wanted
    write_recipe(tmp_path / "recipe.yaml", tmp_path)
    written = load_recipe(tmp_path / "recipe.yaml").input
    entries = {(entry if isinstance(entry, str) else entry.paths[0]): entry for entry in written.paths}
    assert sorted(entries) == ["bytes", "lines", "nested"]


def test_globs_name_the_files_of_one_kind_in_a_mixed_folder_and_no_others(tmp_path):
    for k in range(3):
        write_shard(tmp_path / "data" / f"web-{k}.parquet", prose(10 * k, 5))
        write_lines(tmp_path / "data" / f"books-{k}.jsonl", [{"content": text} for text in prose(100 + 10 * k, 5)])
        pq.write_table(pa.table({"body": prose(200 + 10 * k, 5)}), tmp_path / "data" / f"we{k}.parquet")
    found, _ = fields_written(tmp_path)
    assert found["input"]["paths"] == [
        "data/web*.parquet",
        {"paths": ["data/*.jsonl"], "text": "content"},
        {"paths": ["data/we0.parquet", "data/we1.parquet", "data/we2.parquet"], "text": "body"},
    ]


def test_chats_are_read_as_messages_and_go_into_a_recipe_of_their_own(tmp_path, monkeypatch):
    chat = [{"role": "user", "content": "What is the oldest story?"}, {"role": "assistant", "content": PROSE}]
    write_lines(tmp_path / "data" / "chats" / "a.jsonl", [{"id": f"c{k}", "messages": chat} for k in range(5)])
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 400))
    found, said = fields_written(tmp_path)
    assert found["input"] == {"paths": ["data/web.parquet"], "text": "text"}
    assert "curate init other.yaml data/chats/a.jsonl" in said
    done = command("init", "other.yaml", "data/chats", cwd=tmp_path)
    assert "1 file, 5 rows, chats in column 'messages'" in done.stdout
    assert load_recipe(tmp_path / "other.yaml").input.messages == "messages"
    monkeypatch.chdir(tmp_path)
    assert carry_out(tmp_path / "other.yaml")["documents_in"] == 5


def test_chats_in_two_columns_give_a_recipe_of_the_larger_kind_and_the_other_is_told(tmp_path, monkeypatch):
    chat = [{"role": "user", "content": "How do I cook rice?"}, {"role": "assistant", "content": PROSE}]
    write_lines(tmp_path / "data" / "a.jsonl", [{"messages": chat, "n": k} for k in range(6)])
    write_lines(tmp_path / "data" / "b.jsonl", [{"conversation": chat, "n": str(k)} for k in range(3)])
    write_lines(tmp_path / "data" / "c.jsonl", [{"early": chat[:1], "messages": chat}])
    found, said = fields_written(tmp_path)
    assert found["input"] == {"paths": ["data/a.jsonl", "data/c.jsonl"], "messages": "messages"}
    assert "input.paths: 2 files, 7 rows, chats in column 'messages'\n" in said
    assert (
        "left out: data/b.jsonl: chats in column 'conversation', and a recipe reads them from one, here 'messages'; "
        "make one more: curate init other.yaml data/b.jsonl\n"
    ) in said
    monkeypatch.chdir(tmp_path)
    assert carry_out(tmp_path / "recipe.yaml", "tier1.rules=[]", "dedup.exact=false")["documents_in"] == 7
    assert command("init", "other.yaml", "data/b.jsonl", cwd=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "other.yaml").read_text())["input"]["messages"] == "conversation"


def test_languages_are_told_and_rules_for_english_judge_english_alone(tmp_path, monkeypatch):
    german = [f"{k}. {GERMAN * 4}" for k in range(20)]
    write_shard(tmp_path / "data" / "web.parquet", [*prose(0, 20), *german])
    found, said = fields_written(tmp_path)
    assert "languages of 40 sampled texts: de 50%, en 50%\n" in said
    assert "gopher's too_few_stop_words would drop 20 of 20 sampled texts in other languages" in said
    assert found["tier1"]["thresholds"] == {"too_few_stop_words": None}
    monkeypatch.chdir(tmp_path)
    summary = carry_out(tmp_path / "recipe.yaml")
    assert summary["documents_out"] == 40
    assert carry_out(tmp_path / "recipe.yaml", "tier1.rules=[gopher]", "tier1.thresholds={}")["documents_out"] == 20


def test_in_the_root_folder_files_are_named_by_their_folders_too(tmp_path):
    for k in range(3):
        write_shard(tmp_path / "data" / f"part-{k}.parquet", prose(10 * k, 2))
    write_recipe(tmp_path / "recipe.yaml", Path("/"), [tmp_path / "data"])
    found = yaml.safe_load((tmp_path / "recipe.yaml").read_text("utf-8"))
    assert found["input"]["paths"] == [f"{tmp_path}/data".removeprefix("/")]


def test_names_of_files_cannot_break_out_of_the_comments(tmp_path):
    write_shard(tmp_path / "data" / "web.parquet", [PROSE])
    (tmp_path / "data" / "x\nname: \x1b[31mred.parquet").write_bytes(b"no Parquet")
    found, said = fields_written(tmp_path)
    assert found["name"] == tmp_path.name.strip("._-")
    assert "\x1b" not in said + (tmp_path / "recipe.yaml").read_text()
