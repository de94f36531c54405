"""`curate verify` finds one flipped bit, wherever it stands."""

import copy
import json
import random
import shutil

import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import manifest_json

from curate.errors import RunError
from curate.ledger.ledger import read_ledger
from curate.manifests.verify import verify, verify_inputs
from curate.progress import unwritten_log
from curate.storage.files import sealed, sha256_of, write_json

FLIPS = 12  # of each file


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run with an evaluation set, near duplicates, edits and several shards."""
    folder = tmp_path_factory.mktemp("searched")
    words = random.Random(0).choices(PROSE.split(), k=40 * 100)
    texts = [f"{' '.join(words[100 * k : 100 * k + 100])}.\nA line which all of them have.\nno stop" for k in range(40)]
    write_shard(folder / "in" / "a.parquet", texts, source=["a", "b"] * 20)
    write_shard(folder / "sets" / "a.parquet", [texts[3]])
    tier1 = {"rules": ["c4"], "decontaminate": {"against": [str(folder / "sets")]}}
    recipe, run = write_recipe(
        folder, folder / "in", tier1=tier1, dedup={"near": {}, "lines": {"max_repeats": 5}}, shard_size=2000
    )
    carry_out(recipe)
    assert len(manifest_json(run)["shards"]) > 1
    return run


def problems(folder):
    """What verify tells, or the one line that it ends with."""
    try:
        return verify(folder, 2, unwritten_log(True))
    except RunError as error:
        return [str(error)]


def promised(run):
    """The files of a run that verify answers for."""
    ledger = [part.path for part in read_ledger(run).parts]
    models = [path.relative_to(run).as_posix() for path in (run / "models").glob("*")]
    evaluations = [path.relative_to(run).as_posix() for path in (run / "evaluation").glob("*.parquet")]
    facts = [name for name in ("evaluation/retention.json", "evaluation/tracking.json") if (run / name).is_file()]
    return sorted({"manifest.json", "ledger/snapshot.json", *ledger, *models, *evaluations, *facts})


def test_a_shard_that_the_manifest_does_not_list_is_told(searched, tmp_path):
    run = shutil.copytree(searched, tmp_path / "run")
    shutil.copy(next((run / "data").glob("*.parquet")), run / "data" / "stray.parquet")
    assert problems(run) == ["data/stray.parquet: not in the manifest; remove it"]


def check_flips(run, names, seed):
    """Flip bits drawn by seed, each alone, and put them back."""
    drawn = random.Random(seed)
    for name in names:
        whole = (run / name).read_bytes()
        for _ in range(FLIPS):
            place, bit = drawn.randrange(len(whole)), drawn.randrange(8)
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            (run / name).write_bytes(flipped)
            found = problems(run)
            assert any(name in line for line in found), (name, place, bit, found)
        (run / name).write_bytes(whole)
    assert problems(run) == []


def test_a_flipped_bit_of_any_file_of_a_run_is_found_and_its_file_named(searched):
    names = promised(searched)
    assert {name.split("/")[0] for name in names} == {"data", "ledger", "manifest.json", "models"}
    check_flips(searched, names, seed=1)


def test_a_flipped_bit_of_models_is_found(purified, tmp_path):
    run = shutil.copytree(purified[1], tmp_path / "run")
    names = [name for name in promised(run) if name.startswith("models/")]
    assert len(names) >= 2
    check_flips(run, names, seed=2)


def test_a_flipped_bit_of_an_evaluation_is_found(selected, tmp_path):
    run = shutil.copytree(selected[1], tmp_path / "run")
    names = [name for name in promised(run) if name.startswith("evaluation/")]
    assert len(names) == 3
    check_flips(run, [*names, "manifest.json"], seed=3)


def test_the_line_of_a_changed_shard_tells_both_hashes(searched, tmp_path):
    run = shutil.copytree(searched, tmp_path / "run")
    shard = manifest_json(run)["shards"][0]
    (run / shard["path"]).write_bytes(b"x")
    done = command("verify", run)
    found, wanted = sha256_of(run / shard["path"])[:12], shard["sha256"][:12]
    assert done.stdout == f"{shard['path']}: its bytes changed (sha256 {found}…, written as {wanted}…)\n"
    assert (done.returncode, done.stderr) == (1, f"Error: {run}: 1 thing is not as written\n")


def test_a_file_that_is_missing_is_told(searched, tmp_path):
    for name in promised(searched):
        if name == "manifest.json":
            continue
        run = shutil.copytree(searched, tmp_path / "run")
        (run / name).unlink()
        if name.endswith(".json") and name.startswith("models/"):  # what notes a table: without it there is none
            shutil.rmtree(run)
            continue
        assert any(line.startswith(f"{name}: missing") for line in problems(run)), name
        shutil.rmtree(run)


def test_counts_that_do_not_add_up_are_told_even_where_the_seal_is_right(searched, tmp_path):
    run = shutil.copytree(searched, tmp_path / "run")
    manifest = manifest_json(run)
    manifest["mixture"]["input.source"][0]["documents"] += 1
    manifest["licenses"][0]["tokens"] += 1
    manifest["inputs"][0]["documents_out"] += 1
    write_json(run / "manifest.json", sealed(manifest))
    documents, tokens = (manifest["totals"][f"{unit}_out"] for unit in ("documents", "tokens"))
    assert problems(run) == [
        f"manifest.json: mixture by input.source hold {documents + 1} documents, totals say {documents}",
        f"manifest.json: {documents + 1} documents of the inputs are kept, totals say {documents}",
        f"manifest.json: licences hold {tokens + 1} tokens, totals say {tokens}",
    ]


def test_written_documents_and_stages_count_too(searched, tmp_path):
    run = shutil.copytree(searched, tmp_path / "run")
    manifest = manifest_json(run)
    manifest["synthetic"]["documents"] += 1
    stage = next(stage for stage in manifest["stages"] if stage["dropped"])
    stage["documents_out"] -= 1
    write_json(run / "manifest.json", sealed(manifest))
    documents = manifest["totals"]["documents_out"]
    assert problems(run) == [
        f"manifest.json: {documents} documents of the inputs are kept, totals say {documents - 1}",
        f"manifest.json: stage {stage['stage']}: {stage['documents_out'] + 1} documents are left, "
        f"it says {stage['documents_out']}",
    ]


@pytest.mark.parametrize("more", [1, -1])
def test_a_manifest_of_other_inputs_than_the_ledger_is_told(searched, tmp_path, more):
    run = shutil.copytree(searched, tmp_path / "run")
    manifest = manifest_json(run)
    manifest["totals"]["documents_in"] += more
    write_json(run / "manifest.json", sealed(manifest))
    [problem] = verify_inputs(run, 1, unwritten_log(quiet=True))
    assert problem.startswith("manifest.json: is of other inputs than the ledger")


@pytest.mark.parametrize("more", [1, -1])
def test_a_file_of_another_size_than_an_export_lists_is_told(exported, more):
    listed = json.loads((exported / "export.json").read_text())
    listed["files"][0]["bytes"] += more
    write_json(exported / "export.json", sealed({name: listed[name] for name in ("format", "files")}))
    path, size = listed["files"][0]["path"], listed["files"][0]["bytes"]
    assert problems(exported) == [f"{path}: has {size - more} bytes, written as {size}"]


@pytest.fixture
def exported(searched, tmp_path):
    """A folder as exports leave it: files, and a list of them."""
    folder = tmp_path / "export"
    (folder / "data").mkdir(parents=True)
    shutil.copy(searched / "manifest.json", folder)
    for path in (searched / "data").iterdir():
        shutil.copy(path, folder / "data")
    (folder / "README.md").write_text("# Card\n")
    files = [
        {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*")) if path.is_file()
    ]  # fmt: skip
    write_json(folder / "export.json", sealed({"format": "hf", "files": files}))
    return folder


def test_a_flipped_bit_of_any_file_of_an_export_is_found(exported):
    names = [path.relative_to(exported).as_posix() for path in sorted(exported.rglob("*")) if path.is_file()]
    assert {"export.json", "manifest.json", "README.md"} < set(names)
    check_flips(exported, names, seed=4)
    assert command("verify", exported).stdout == f"{exported}: all files are as they were written\n"
    told = f"Error: {exported}: is an export, which knows no inputs; verify the run that it was made of\n"
    assert command("verify", exported, "--inputs").stderr == told


def test_a_file_of_an_export_that_is_missing_or_not_of_it_is_told(exported):
    (exported / "README.md").unlink()
    (exported / "data" / "more.parquet").write_bytes(b"x")
    (exported / ".gitattributes").write_text("hidden files are the business of other tools")
    assert problems(exported) == ["README.md: missing", "data/more.parquet: not in export.json; remove it"]


@pytest.mark.parametrize(
    "listed", ["[]", "{}", '{"files": 3}', '{"files": [{"path": "a"}]}', '{"files": {"a": 1}}', "no JSON", "[" * 99999]
)
def test_a_list_of_an_export_that_is_none_is_one_line(exported, listed):
    (exported / "export.json").write_text(listed)
    assert problems(exported) == [f"{exported}/export.json: damaged: not a list of files; export again"]


def test_a_list_of_an_export_reads_nothing_outside_of_it(exported):
    whole = json.loads((exported / "export.json").read_text())
    for path in ("../secret", "/etc/passwd"):
        listed = copy.deepcopy(whole)
        listed["files"].append({"path": path, "bytes": 1, "sha256": "0" * 64})
        write_json(exported / "export.json", sealed(listed))
        [told] = problems(exported)
        assert told == f"export.json: lists {path}, which is outside of the export"
