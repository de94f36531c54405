"""Files of a run that are not as they were written: told in one line, or made anew as they were."""

import gzip
import json
import os

import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused, told_by
from support.corpora import PROSE, SAMPLE, write_shard
from support.damage import copy_of, damage, files_of, promised
from support.recipes import write_recipe
from support.soak import PLACES, SOAK, drawn, tell
from support.whole_runs import make_corpus, whole_recipe

from curate.corpus.units import Unit
from curate.distill.teacher.protocol import Reply
from curate.distill.teacher.request_cache import open_cache
from curate.errors import CurateError, RecipeError, RunError
from curate.ledger.ledger import Ledger, read_ledger
from curate.ledger.parts import Part
from curate.manifests.verify import verify
from curate.pipeline.gc import collect
from curate.progress import unwritten_log

CHANGES = {"the same recipe": [], "another threshold": ["tier1.thresholds.too_few_words=30"]}
NOT_VERIFIED = ("recipe.yaml", "run.json", "run.duckdb", "inputs/")  # run.duckdb and inputs/ are made anew or told of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, of every kind of stage in the soak, and what its recipe and a changed one promise."""
    folder = tmp_path_factory.mktemp("finished")
    if SOAK:
        recipe, run = whole_recipe(folder / "x", make_corpus(folder / "corpus"))
        carry_out(recipe)
    else:
        recipe, run = small_recipe(folder)
        carry_out(recipe)
    wanted = {}
    for name, changes in CHANGES.items():
        place = copy_of(run, folder / "copy")
        carry_out(recipe, f"output={place}", *changes)
        wanted[name] = promised(place)
    return recipe, run, wanted


def small_recipe(folder):
    """A recipe with the stages that need no training, over Parquet and JSON lines."""
    rows = pq.read_table(SAMPLE / "part-00000.parquet").slice(0, 120)
    (folder / "in").mkdir()
    pq.write_table(rows.slice(0, 60), folder / "in" / "a.parquet")
    with gzip.open(folder / "in" / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows.slice(60).to_pylist())
    (folder / "benchmark.jsonl").write_text(json.dumps({"question": PROSE}) + "\n")
    against = {"against": [str(folder / "benchmark.jsonl")]}
    tier1 = {"rules": ["gopher", "c4"], "pii": "redact", "decontaminate": against}
    fields = {"dedup": {"near": {}, "lines": {"max_repeats": 2}}, "export": ["hf"], "shard_size": 60_000}
    return write_recipe(folder, folder / "in", tier1=tier1, **fields)


def test_damage_anywhere_is_told_in_one_line_or_made_anew_as_it_was(finished, tmp_path):
    recipe, run, wanted = finished
    random, place, counts = drawn("damage"), tmp_path / "run", {"told": 0, "anew": 0}
    files = files_of(run)
    folders = sorted({os.path.dirname(name) for name in files})
    for _ in range(PLACES):
        name = random.choice([name for name in files if os.path.dirname(name) == random.choice(folders)] or files)
        copy_of(run, place)
        what = f"{name} {damage(place / name, random)}"
        if not name.startswith(NOT_VERIFIED):
            assert is_found(place), what
        change = random.choice(sorted(CHANGES))
        try:
            carry_out(recipe, f"output={place}", *CHANGES[change])
        except CurateError as error:
            told_by(error)
            counts["told"] += 1
        else:
            assert promised(place) == wanted[change], f"{what}, {change}"
            assert verify(place, 1, unwritten_log(True)) == [], f"{what}, {change}"
            counts["anew"] += 1
    tell(f"damage: {PLACES} places, {counts['anew']} made anew as they were, {counts['told']} told, 0 wrong")


def test_a_list_of_an_export_that_lost_its_seal_is_found(finished, tmp_path):
    _, run, _ = finished
    place = copy_of(run, tmp_path / "run")
    told = next((place / "export").rglob("export.json"))
    told.write_text(told.read_text("utf-8").replace('"seal"', '"seam"'), "utf-8")
    assert verify(place, 1, unwritten_log(True)) == [f"{told.relative_to(place)}: its bytes changed"]


def is_found(run):
    """Whether verify tells of any damage."""
    try:
        return verify(run, 1, unwritten_log(True)) != []
    except CurateError:
        return True


def test_a_journal_with_a_flipped_bit_has_in_force_what_stands_before_it(tmp_path):
    ledger = Ledger(tmp_path)
    parts = [
        Part(
            "words", "digest", f"ledger/signals/words/{k}.parquet", 7, 99, "sha", (Unit(0, k, k + 7),), 0, ("content",)
        )
        for k in range(3)
    ]
    ledger.commit()
    ledger.add(parts)
    written = ledger.journal_path.read_bytes()
    random = drawn("journal")
    for place in range(len(written)):
        data = bytearray(written)
        data[place] ^= 1 << random.randrange(8)
        ledger.journal_path.write_bytes(data)
        found = read_ledger(tmp_path).parts
        assert found == parts[: len(found)]
        assert len(found) < 3


def test_a_snapshot_with_a_flipped_bit_is_refused(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.put("words", [Part("words", "digest", "ledger/signals/words/0.parquet", 7, 99, "sha", (Unit(0, 0, 7),))])
    written = ledger.path.read_bytes()
    random = drawn("snapshot")
    for place in range(len(written)):
        data = bytearray(written)
        data[place] ^= 1 << random.randrange(8)
        ledger.path.write_bytes(data)
        try:
            found = read_ledger(tmp_path)
            assert facts(found) == facts(ledger)  # where the seal holds, of white space for one
        except RunError as error:
            told_by(error)


def facts(ledger):
    """All that a snapshot tells."""
    return ledger.parts, ledger.files, ledger.next_file_no, ledger.superseded


def test_an_answer_with_a_flipped_bit_is_as_if_it_had_never_been_given(tmp_path):
    answers = {bytes([k]) * 32: Reply(f"an answer {k}", "stop", 3, 5) for k in range(3)}
    with open_cache(tmp_path) as cache:
        for key, answer in answers.items():
            cache.put(key, "generate", answer)
    [part] = tmp_path.glob("part-*.jsonl")
    written = part.read_bytes()
    random = drawn("cache")
    for place in range(len(written)):
        data = bytearray(written)
        data[place] ^= 1 << random.randrange(8)
        part.write_bytes(data)
        with open_cache(tmp_path) as cache:
            found = {key: cache.get(key, "generate") for key in answers if key in cache}
        assert 1 <= len(found) <= 2
        assert found.items() <= answers.items()


def test_a_damaged_snapshot_is_named(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    (run / "ledger" / "snapshot.json").write_text('{"ledger_version": 1')
    assert "snapshot.json: damaged" in refused(recipe, RunError)


def test_a_manifest_that_is_none_is_named(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    manifest = json.loads((run / "manifest.json").read_text())
    for changes, told in [
        ([], "not a manifest of version 1"),
        ({"manifest_version": 2}, "not a manifest of version 1"),
        ({"stages": [{"stage": "rules"}]}, "damaged: its field 'stages' is not as it was written"),
        ({"shards": {}}, "damaged: its field 'shards'"),
        ({"totals": {"documents_in": "20"}}, "damaged: its field 'totals'"),
        ({"signal_groups": None}, "damaged: its field 'signal_groups'"),
    ]:
        (run / "manifest.json").write_text(json.dumps(manifest | changes if changes else changes))
        for look in (lambda: verify(run, 1, unwritten_log(True)), lambda: collect(run, True, True)):
            with pytest.raises(RunError, match=r"manifest\.json: ") as caught:
                look()
            assert f"manifest.json: {told}" in told_by(caught.value)
    carry_out(recipe)
    assert verify(run, 1, unwritten_log(True)) == []


def test_verify_of_the_inputs_does_not_pass_where_it_can_check_nothing(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    write_shard(good, [PROSE])
    rule = "tier1.rules=[{reason: low, when: \"CAST('x' || n_words AS INTEGER) < 3\"}]"
    refused(recipe, RecipeError, rule)
    done = command("verify", run, "--inputs")
    assert done.returncode == 1
    assert "manifest.json: is of other inputs than the ledger" in done.stdout


def test_a_lost_or_damaged_output_shard_is_written_again(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", shard_size=2000)
    carry_out(recipe)
    first, second, *_ = sorted((run / "data").iterdir())
    expected = {path.name: path.read_bytes() for path in (run / "data").iterdir()}
    first.unlink()
    with second.open("ab") as file:
        file.write(b"x")
    assert carry_out(recipe)["shards"] == len(expected)
    assert {path.name: path.read_bytes() for path in (run / "data").iterdir()} == expected
    assert command("verify", run).returncode == 0


def test_verify_reads_the_inputs_again_where_it_is_asked_to(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert command("verify", run, "--inputs").returncode == 0
    status = good.stat()
    texts = pq.read_table(good)["text"].to_pylist()
    write_shard(good, ["X" + texts[0][1:], *texts[1:]])
    os.utime(good, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert command("verify", run).returncode == 0
    done = command("verify", run, "--inputs")
    assert done.returncode == 1
    assert done.stdout == "a.parquet rows 0 to 20: the text is not the one that was measured\n"
