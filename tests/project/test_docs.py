"""The docs name what there is, and what they show is what happens."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pyarrow as pa
import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.docs import blocks, fields_of, sections_in, text_of, whole_recipes
from support.paths import ROOT

from curate import cli, kernels
from curate.distill.budget.scores import SCORE_NAMES
from curate.errors import CurateError
from curate.filters import registry
from curate.filters.rules.resolve import BUILT_IN, edits_of_set, resolve, rules_of_set
from curate.kernels.lm_words import lm_lines
from curate.ledger.run import connect
from curate.ledger.view_comments import ONE_ROW_FOR
from curate.manifests.export.format import MODULES
from curate.manifests.export.mixture import Mixture
from curate.manifests.schema.model import Manifest
from curate.recipe.input import Source
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe
from curate.recipe.tier1 import Block, Rule
from curate.recipe.values import parse_size

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOR_DEVELOPERS = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]


def table_rows(text):
    """Rows of all tables by their first cell without its backticks; of two with the same, the first."""
    rows = {}
    for line in text.splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in line.split("|")[1:-1]]
            rows.setdefault(cells[0].strip("`"), cells)
    return rows


def shell_commands():
    """Every line of the docs that starts `curate`, as its arguments."""
    lines = [line for page in PAGES for block in blocks(page.read_text("utf-8"), "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("curate ")]


def queries():
    """Every query that the docs show, in a block of SQL or as a command."""
    shown = [query for page in PAGES for query in blocks(page.read_text("utf-8"), "sql")]
    asked = [arguments[2] for arguments in shell_commands() if arguments[0] == "sql" and len(arguments) > 2]
    return [*shown, *(query for query in asked if not query.startswith("--"))]


def test_every_format_of_an_export_stands_in_the_docs():
    named = " ".join(row[1] for row in table_rows(text_of("trainers.md")).values() if len(row) == 3)
    assert {name for name in MODULES if f"`{name}`" not in named} == set()


def test_every_score_of_a_budget_stands_in_the_docs():
    rows = table_rows(text_of("distil.md").split("\n## Scores\n")[1].split("\n## ")[0])
    assert set(rows) - {"score"} == {*SCORE_NAMES, "input.NAME"}


def test_every_field_of_a_mixture_stands_in_the_docs_with_its_default():
    rows = table_rows(text_of("trainers.md").split("## Mixtures")[1])
    for name, field in Mixture.model_fields.items():
        assert rows[name][1].strip("`") == (
            "required" if field.is_required() else str(field.default).replace("None", "null")
        )
    [example] = [yaml.safe_load(block) for block in blocks(text_of("trainers.md"), "yaml") if "sources:" in block]
    assert Mixture(**example).tokens == 10**10


def errors_shown():
    """(arguments, error) of every failing command in docs/recipe.md."""
    pairs = re.findall(r"^\$ curate run web\.yaml (.*)\nError: (.*)$", text_of("recipe.md"), re.MULTILINE)
    return [(shlex.split(arguments)[1::2], error) for arguments, error in pairs]


def names_within(annotation):
    """Names of all fields of all sections within a type."""
    found = set()
    for section in sections_in(annotation):
        for name, field in section.model_fields.items():
            found |= {field.alias or name} | names_within(field.annotation)
    return found


WORKING = [(place, field) for place, field, section in fields_of(Recipe) if not section]


def commands_in(group, path=""):
    """Names of all commands, those of groups within it with the groups' names before them."""
    for name, found in group.commands.items():
        yield from commands_in(found, f"{path}{name} ") if isinstance(found, click.Group) else [path + name]


def test_every_command_stands_in_the_docs():
    pages = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in commands_in(cli.main) if not re.search(rf"\bcurate {name}\b", pages)] == []


@pytest.mark.parametrize("arguments", shell_commands(), ids=" ".join)
def test_every_command_line_in_the_docs_has_a_command_and_options_that_exist(arguments):
    known, *rest = cli.main, *arguments
    while isinstance(known, click.Group):
        known = known.commands[rest.pop(0)]
    options = {option for parameter in known.params for option in parameter.opts}
    assert {argument for argument in arguments[1:] if argument.startswith("--")} <= options


def test_every_signal_stands_in_the_docs_with_its_group_type_and_meaning():
    text = text_of("signals.md")
    for group, signals in registry.groups().items():
        rows = table_rows(re.split(r"^### |^## ", text.split(f"\n### {group}\n")[1], flags=re.MULTILINE)[0])
        for signal in signals:
            for column, kind in signal.writes.items():
                assert rows[column] == [f"`{column}`", str(kind), signal.about[column]]


def test_the_docs_name_no_signal_that_does_not_exist():
    known = {column for signals in registry.groups().values() for signal in signals for column in signal.writes}
    known |= set(registry.DERIVED)
    rows = table_rows(text_of("signals.md").split("## All signals")[1].split("## What is a word")[0])
    assert set(rows) - {"signal", "---"} - known == set()


def test_a_text_has_as_many_words_as_the_docs_say():
    section = text_of("signals.md").split("## What is a word")[1].split("\n## ")[0]
    examples = {text: int(row[1]) for text, row in table_rows(section).items() if row[1].isdigit()}
    assert len(examples) >= 10
    assert kernels.count_words(pa.array(list(examples)))["words"].to_pylist() == list(examples.values())


def test_a_text_becomes_the_line_of_tokens_that_the_docs_say():
    section = text_of("language-models.md").split("## What is a token")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.*)` \| `(.*)` \|$", section, re.MULTILINE)
    assert len(rows) >= 5
    assert lm_lines(pa.array([text for text, _ in rows])).lines.to_pylist() == [line for _, line in rows]


def test_a_text_has_as_many_pieces_as_the_docs_say():
    section = text_of("signals.md").split("## What is a piece")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.*)` \| ([0-9]+) \|", section, re.MULTILINE)
    texts, numbers = [text.replace("\\|", "|") for text, _ in rows], [int(n) for _, n in rows]
    assert len(texts) >= 10
    assert kernels.count_pieces(pa.array(texts))["pieces"].to_pylist() == numbers


@pytest.mark.parametrize("name", list(registry.rule_sets()))
def test_every_rule_of_every_named_set_stands_in_the_docs_with_its_bound(name):
    rows = table_rows(text_of("rules.md").split(f"## The set `{name}`")[1].split("\n## ")[0])
    for found in rules_of_set(name):
        rule = found.rule
        bound = f"min {rule.min}" if rule.min is not None else f"max {rule.max}"
        condition = f"`{rule.if_}`" if rule.if_ else ""
        cells = ["", "", f"`{rule.when}`"] if rule.when else [f"`{rule.signal}`", bound, condition]
        assert rows[rule.reason] == [f"`{rule.reason}`", *cells]


@pytest.mark.parametrize("edit", registry.edits().values(), ids=lambda edit: edit.name)
def test_every_line_rule_stands_in_the_docs_with_what_it_cuts_and_its_bound(edit):
    rows = table_rows(text_of("edits.md").split(f"### `{edit.name}`")[1].split("\n### ")[0].split("\n## ")[0])
    assert {reason: row for reason, row in rows.items() if reason not in ("reason", "---")} == {
        rule.reason: [f"`{rule.reason}`", str(rule), "" if rule.bound is None else str(rule.bound)]
        for rule in edit.rules
    }


def test_every_set_says_in_the_docs_which_edits_it_switches_on():
    for name in registry.rule_sets():
        section = text_of("rules.md").split(f"## The set `{name}`")[1].split("\n## ")[0]
        moved = {
            (rule.reason, str(rule.bound))
            for edit in edits_of_set(name)
            for rule, published in zip(edit.rules, registry.edits()[edit.name].rules, strict=True)
            if rule != published
        }
        assert moved == set(re.findall(r"`(\w+): (\S+)` in the edit", section))
        named = set(re.findall(r"\[`(\w+)`\]\(edits\.md#", section))
        assert named == {edit.name for edit in edits_of_set(name)}


def test_every_derived_column_stands_in_the_docs_with_its_type_and_meaning():
    rows = table_rows(text_of("signals.md").split("### Computed from signals")[1].split("\n## ")[0])
    for column, found in registry.DERIVED.items():
        assert rows[column] == [f"`{column}`", str(found.type), found.about]


def test_every_built_in_reason_stands_in_the_docs_with_its_meaning():
    rows = table_rows(text_of("rules.md").split("## Built-in reasons")[1].split("\n## ")[0])
    assert {reason: row[2] for reason, row in rows.items() if reason in BUILT_IN} == BUILT_IN


@pytest.mark.parametrize(("place", "field"), WORKING, ids=[place for place, _ in WORKING])
def test_every_field_that_works_stands_in_the_docs_with_its_default(place, field):
    shown = table_rows(text_of("recipe.md"))[place][2]
    if field.is_required():
        assert shown == "required"
        return
    default = yaml.safe_load(shown.strip("`"))
    is_size = isinstance(field.default, int) and not isinstance(field.default, bool)
    wanted = list(field.default) if isinstance(field.default, tuple) else field.default
    assert (parse_size(default) if is_size else default) == wanted


def test_every_field_of_a_rule_of_a_list_and_of_a_source_stands_in_the_docs():
    rows = table_rows(text_of("recipe.md"))
    assert {field.alias or name for name, field in Rule.model_fields.items()} - set(rows) == set()
    assert set(Block.model_fields) - set(table_rows(text_of("rules.md").split("## Lists of your own")[1])) == set()
    assert set(Source.model_fields) - set(table_rows(text_of("inputs.md"))) == set()


@pytest.mark.parametrize("fields", whole_recipes(), ids=lambda fields: fields["name"])
def test_every_whole_recipe_in_the_docs_is_accepted(fields):
    resolve(parse_recipe(fields, "docs/recipe.md").tier1)


@pytest.mark.parametrize(("changes", "error"), errors_shown(), ids=[error[:60] for _, error in errors_shown()])
def test_every_error_in_the_docs_is_what_a_user_is_told(changes, error, tmp_path, monkeypatch):
    recipe = whole_recipes()[0]
    (tmp_path / "web.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    texts = [f"{PROSE}{k}" for k in range(3)]
    write_shard(tmp_path / "data" / "part-0.parquet", texts, license=["cc0", "cc0", "mit"], url=["a", "b", "c"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CurateError) as told:
        carry_out(Path("web.yaml"), *changes)
    assert str(told.value).replace(str(tmp_path), "/home/me") == error


def test_every_field_of_the_manifest_stands_in_the_docs_and_no_other():
    section = text_of("manifest.md").split("## What is in it")[1].split("### The mixture")[0]
    named = {name for row in table_rows(section).values() for name in re.findall(r"`(\w+)`", row[0])}
    assert named == {field.alias or name for name, field in Manifest.model_fields.items()}


def test_the_programs_that_the_page_of_the_manifest_shows_run(demo, tmp_path, monkeypatch, capsys):
    shutil.copytree(demo, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    Path("runs/demo/croissant.json").write_text(command("card", "runs/demo", "--format", "croissant").stdout)
    programs = blocks(text_of("manifest.md"), "python")
    assert len(programs) == 3
    for program in programs:
        exec(compile(program, "manifest.md", "exec"), {})
    assert "en 682 500693" in capsys.readouterr().out


def test_every_view_and_table_of_a_run_stands_in_the_docs_with_its_columns(demo, augmented):
    cells = {
        name: row[2]
        for name, row in table_rows(text_of("ledger.md").split("### Views and tables")[1]).items()
        if len(row) == 3
    }
    assert set(cells) - {"name"} == set(ONE_ROW_FOR)
    signals = {column for signals in registry.groups().values() for signal in signals for column in signal.writes}
    signals |= set(registry.DERIVED)

    def named(table):
        found = set(re.findall(r"`(\w+)`", cells[table]))
        found |= named("documents") if "as `documents`" in cells[table] else set()
        return found | signals if "every signal" in cells[table].replace("[", "") else found

    query = "SELECT table_name, list(column_name) FROM information_schema.columns GROUP BY 1"
    shown = {}
    for run in (augmented[1], demo):
        with connect(run) as connection:
            shown |= {table: set(columns) for table, columns in connection.execute(query).fetchall()}
    assert len(shown) >= 10
    assert {table: columns - named(table) for table, columns in shown.items() if columns - named(table)} == {}


@pytest.mark.parametrize("query", queries(), ids=lambda query: " ".join(query.split())[:80])
def test_every_query_in_the_docs_runs_on_a_run_with_what_it_asks_about(
    query, demo, purified, distilled, selected, augmented
):
    second = re.search(r"FROM (thresholds|rounds|attacks|grades|preference_pairs)", query)
    budget = re.search(r"FROM (rungs|quotas)|'distil'", query)
    quality = re.search(r"FROM retention", query)
    third = re.search(r"FROM (synthetic|domains|domain_documents)", query)
    run = purified[1] if second else distilled[1] if budget else selected[1] if quality else demo
    run = augmented[1] if third else run
    done = command("sql", run, query)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("page", [*PAGES, *FOR_DEVELOPERS], ids=lambda page: page.name)
def test_every_relative_link_points_to_a_file_and_a_heading_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", aim.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, target
