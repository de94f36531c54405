"""Identity of code: whatever a result comes from counts with it, and what only tells of it does not."""

import ast
import json
import shutil
from itertools import chain

import pytest
from support.commands import command, program
from support.corpora import write_shard
from support.recipes import distilling

from curate import digest
from curate.digest import ROOT, code_of, files_of
from curate.filters import registry

MEASURING = (
    "curate.maps.measure", "curate.maps.groups", "curate.filters.block", "curate.filters.contamination",
    "curate.filters.registry", *registry.MODULES, *digest.READING, *digest.LANGUAGE_MODELS,
)  # fmt: skip
# Where the search ends: packages and modules that say, store or carry out something, and what has a digest or content
# of its own there.
SAYS = ("display", "errors", "progress", "redaction")
STORES = (
    "cache", "ledger.augmented", "ledger.ledger", "ledger.models", "ledger.names", "ledger.parts",
    "ledger.run", "manifests", "storage",
)  # fmt: skip
WORKS = ("engine", "maps.run_maps", "maps.warm", "pipeline.state", "process")
HAS_A_DIGEST_ITSELF = ("decide.plan", "digest", "maps.reread", "maps.shards")
APART = {f"curate.{name}" for name in chain(SAYS, STORES, WORKS, HAS_A_DIGEST_ITSELF)}
RESULTS = {
    # What a recipe says about measuring is in digests by its values.
    "measurements": (("curate.maps.measure", *registry.MODULES), (*MEASURING, *digest.RECIPE, "curate.sql")),
    "models": (
        ("curate.distill.purify.training", "curate.distill.budget.models"),
        (*digest.MODELS, *digest.DECIDING, *MEASURING),
    ),
    "decisions": (
        ("curate.decide.decide", "curate.pipeline.text_reader"),
        (*digest.DECIDING, *digest.MODELS, *digest.WRITING, *digest.ADAPTERS, *MEASURING),
    ),
    "evaluations": (
        tuple(f"curate.distill.evaluate.{name}" for name in ("prepare", "arms", "arms_written", "heldout", "measure")),
        (*digest.EVALUATING, *digest.DECIDING, *digest.MODELS, *digest.WRITING, *digest.ADAPTERS, *MEASURING),
    ),
    "written documents": (
        ("curate.pipeline.augment",),
        (*digest.WRITING, *digest.EVALUATING, *digest.DECIDING, *digest.MODELS, *digest.ADAPTERS, *MEASURING),
    ),
}
CALL_NO_KERNELS = ("RECIPE", "TEACHING", "TRANSFORMERS")
TELLING = ("cli/run.py", "manifests/cards/card.py", "manifests/formats/jsonl.py", "report/page.py", "inspect/why.py")
TUPLES = {name: value for name, value in vars(digest).items() if isinstance(value, tuple) and name.isupper()}


def file_of(module):
    return ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")


def imported(module):
    """The modules of `curate` that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(file_of(module).read_bytes())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        yield from (name for name in names if name.startswith("curate.") and file_of(name).is_file())


def is_apart(module):
    return any(f"{module}.".startswith(f"{name}.") for name in APART)


def reached(modules):
    """Modules and all that they lead to; kernels count with everything."""
    found, todo = set(), list(modules)
    while todo:
        module = todo.pop()
        if module not in found and not module.startswith(digest.KERNELS) and not is_apart(module):
            found.add(module)
            todo += imported(module)
    return found


@pytest.fixture
def copied(tmp_path):
    """The package in a folder of its own, to be changed."""
    return shutil.copytree(ROOT, tmp_path / "copied" / "curate", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize("result", RESULTS)
def test_all_that_leads_to_a_result_counts_with_it(result):
    roots, counted = RESULTS[result]
    counted = files_of(list(counted))
    assert [module for module in sorted(reached(roots)) if file_of(module) not in counted] == []


def test_what_is_listed_exists_and_what_stands_apart_is_needed():
    assert all(files_of(list(names)) for names in TUPLES.values())
    led_to = set(chain.from_iterable(imported(module) for names, _ in RESULTS.values() for module in reached(names)))
    assert [name for name in APART if not any(f"{module}.".startswith(f"{name}.") for module in led_to)] == []
    with pytest.raises(ValueError, match=r"curate\.nothing is neither a package nor a module of curate"):
        code_of("curate.nothing")


def test_the_contexts_of_personal_data_count_with_the_edit():
    assert file_of("curate.filters.edits.pii_context") in files_of(["curate.filters.edits.pii"])


@pytest.mark.parametrize("name", TUPLES)
def test_a_byte_in_any_file_is_another_digest(copied, name):
    before = code_of.__wrapped__(*TUPLES[name], root=copied)
    assert before == code_of(*TUPLES[name])
    kernels = [] if name in CALL_NO_KERNELS else [digest.KERNELS]
    for path in sorted(files_of([*TUPLES[name], *kernels], copied)):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert code_of.__wrapped__(*TUPLES[name], root=copied) != before, path
        path.write_bytes(content)
    others = [f"kernels/{path.name}" for path in copied.glob("kernels/*.py")] if name in CALL_NO_KERNELS else []
    for other in (*others, *TELLING):
        path = copied / other
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert code_of.__wrapped__(*TUPLES[name], root=copied) == before, path
        path.write_bytes(content)


def test_files_of_a_package_and_what_a_module_names_count_with_it(tmp_path, monkeypatch):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "loop.py").touch()
    (tmp_path / "package" / "below").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").touch()
    names = 'import curate.kernels\n\nLIBRARIES = ("numpy",)\nPARTS = ("curate.package",)\n'
    (tmp_path / "module.py").write_text(names)
    of_module = lambda: code_of.__wrapped__("curate.module", root=tmp_path)  # noqa: E731
    digests = [of_module()]
    (tmp_path / "package" / "below" / "words.yaml").write_text("a: 1\n")
    digests.append(of_module())
    (tmp_path / "package" / "below" / "words.yaml").rename(tmp_path / "package" / "words.yaml")
    digests.append(of_module())
    (tmp_path / "kernels" / "loop.py").write_text("\n")
    digests.append(of_module())
    monkeypatch.setattr(digest, "version", lambda library: f"{library} 0")
    digests.append(of_module())
    assert len(set(digests)) == len(digests)
    (tmp_path / "package" / "__pycache__").mkdir()
    (tmp_path / "package" / "__pycache__" / "module.pyc").write_bytes(b"x")
    assert of_module() == digests[-1]


def run_with(package, recipe, folder):
    """What a run by the code of a package logs."""
    log = folder / "run.log"
    size = log.stat().st_size if log.exists() else 0
    done = program("run", recipe, "--quiet", "--workers", 1, cwd=package.parent, PYTHONPATH=str(package.parent))
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["event"] for line in log.read_bytes()[size:].splitlines()]


def changed(path, before, after):
    text = path.read_text("utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), "utf-8")


@pytest.mark.slow  # runs of a copied package, with its kernels
def test_another_order_of_survivors_gives_other_verdicts_over_the_same_ledger(copied, tmp_path):
    table = write_shard(tmp_path / "in" / "a.parquet", ["The same words in both documents."] * 2, id=["one", "two"])
    recipe = tmp_path / "recipe.yaml"
    fields = {"name": "x", "output": str(tmp_path / "run"), "input": {"paths": [str(table)], "id": "id"}}
    recipe.write_text(json.dumps({**fields, "dedup": {"exact": True, "keep": "first"}}))
    kept = lambda: command("sql", tmp_path / "run", "SELECT doc_id FROM kept", "--format", "csv").stdout.split()  # noqa: E731
    run_with(copied, recipe, tmp_path / "run")
    assert kept() == ["doc_id", "one"]
    verdicts = copied / "dedup" / "exact.py"
    changed(verdicts, '"first": "position, row"', '"first": "position DESC, row DESC"')
    events = run_with(copied, recipe, tmp_path / "run")
    assert "decided" in events
    assert "measuring" not in events
    assert kept() == ["doc_id", "two"]


@pytest.mark.slow  # fifteen runs, each with its kernels and processes: the digests themselves are tested above
def test_a_change_makes_again_what_comes_from_it_and_nothing_else(copied, corpus, tmp_path):
    recipe, run = distilling(corpus, tmp_path, tier2={"rounds": 1}, dedup={"near": {}})
    assert {"measuring", "trained", "decided"} <= set(run_with(copied, recipe, run))
    made = {
        "cli/run.py": set(),
        "manifests/cards/card.py": set(),
        "dedup/near/stage.py": {"decided"},
        "distill/attacks/noise.py": {"trained", "decided"},
        "distill/text/phrases/words.yaml": {"trained", "decided"},
        "corpus/columns.py": {"measuring", "trained", "decided"},
    }
    for name, expected in made.items():
        with (copied / name).open("ab") as file:
            file.write(b"\n")
        events = run_with(copied, recipe, run)
        assert {"measuring", "trained", "decided"} & set(events) == expected, name
