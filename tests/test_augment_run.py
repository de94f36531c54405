"""The third tier in whole runs: a server that writes documents anew, the gates, the budget, and what the run tells."""

import json
import re

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import SAMPLE, carry_out, command, digests, write_recipe
from stand_in import StandIn, running

from curate.errors import RecipeError, TeacherError
from curate.inspect import connect

TARGET = 130_000
TEXT = re.compile(r"=+\n(.*)\n=+", re.DOTALL)


def told(text):
    """A reply."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}


def rewritten(text):
    """The sentences in the other order, without menus: the facts are the same, and most runs of words too."""
    lines = [line for line in text.splitlines() if len(line) > 60]
    return " ".join(reversed(re.split(r"(?<=[.?!])\s+", " ".join(lines))))


def writing(n, body):
    """Most replies are true to their text; one in five is the text itself, one in five has a number more."""
    prompt = body["messages"][-1]["content"]
    text = TEXT.search(prompt)[1]
    kind = body["seed"] % 5
    return told(text if kind == 0 else rewritten(text) + (" That was in 1837." if kind == 1 else ""))


@pytest.fixture(scope="module")
def finance(tmp_path_factory):
    """The sample without half of its good speeches on finance, which are seeds, and a quarter, which is held out."""
    folder = tmp_path_factory.mktemp("finance")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    speech = pc.and_(pc.equal(table["source"], "federalreserve_speech"), pc.equal(table["label"], "good"))
    speech = speech.to_numpy()
    number = np.cumsum(speech) % 4
    parts = {"corpus": ~speech | (number == 0), "seeds": speech & (number % 2 == 1), "heldout": speech & (number == 2)}
    for name, mask in parts.items():
        pq.write_table(table.filter(pa.array(mask)), folder / f"{name}.parquet")
    return folder


def augmenting(finance, folder, url=None, **fields):
    """A recipe with a third tier, and its run directory."""
    folder.mkdir(exist_ok=True)
    domain = {"name": "finance", "seeds": [str(finance / "seeds.parquet")], "target_tokens": TARGET}
    teacher = {"vllm": {"urls": [url]}} if url else "rules"
    changes = {
        "seed": 3, "teacher": teacher, "tier1": {"rules": ["gopher"], "perplexity": {}, "pii": "redact"},
        "dedup": {"near": {}},
        "tier3": {
            "domains": [domain], "forms": ["rewrite", "questions"], "copy_band": ["5%", "99%"], "chunk": 1200,
            **fields.pop("tier3", {}),
        },
        **fields,
    }  # fmt: skip
    changes["evaluate"] = {"heldout": [str(finance / "heldout.parquet")], "least": 5, "track": False, "ablate": False}
    path, run = write_recipe(folder, finance / "corpus.parquet", **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"] |= {"id": "id", "strata": ["source"]}
    path.write_text(yaml.safe_dump(recipe))
    return path, run


@pytest.fixture(scope="module")
def augmented(finance, tmp_path_factory):
    """A finished run, and the server that wrote for it."""
    server = StandIn(writing)
    with running(server) as url:
        path, run = augmenting(finance, tmp_path_factory.mktemp("augmented"), url)
        summary = carry_out(path)
    return path, run, server, summary


def rows(run, query):
    with connect(run) as connection:
        found = connection.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_a_domain_is_told_from_its_seeds(augmented):
    _, run, _, _ = augmented
    [domain] = rows(run, "FROM domains")
    assert domain["wanting"] == TARGET - domain["tokens"] > 0
    told = "SELECT count(*) AS n FROM domain_documents JOIN corpus USING (doc_id) WHERE kept AND input.source"
    speech = "'federalreserve%'"
    [right], [wrong], [there] = (
        rows(run, query)
        for query in (
            f"{told} LIKE {speech}",
            f"{told} IN ('sqlite_docs', 'postgresql_docs', 'python_docs', 'django_docs', 'standardebooks')",
            f"SELECT count(*) AS n FROM corpus WHERE kept AND input.source LIKE {speech}",
        )
    )
    assert right["n"] > 0.7 * there["n"]
    assert wrong["n"] <= 0.05 * right["n"]


def test_written_documents_are_in_the_output_beside_what_they_were_written_from(augmented):
    _, run, _, summary = augmented
    table = pa.concat_tables([pq.read_table(path) for path in sorted((run / "data").glob("*.parquet"))])
    written = table.filter(table["synthetic"])
    assert 0 < len(written) < len(table)
    accepted = rows(run, "FROM synthetic WHERE accepted")
    assert sorted(written["doc_id"].to_pylist()) == sorted(row["doc_id"] for row in accepted)
    assert written["source_doc_id"].null_count == 0
    assert written["id"].to_pylist() == written["doc_id"].to_pylist()
    sources = set(written["source_doc_id"].to_pylist())
    originals = rows(run, f"SELECT doc_id, input.source, input.license FROM corpus WHERE doc_id IN {tuple(sources)}")
    licenses = {row["doc_id"]: row["license"] for row in originals}
    assert [licenses[one] for one in written["source_doc_id"].to_pylist()] == written["license"].to_pylist()
    real = table.filter(pc.invert(table["synthetic"]))
    assert set(real["source_doc_id"].to_pylist()) == {None}
    assert summary["documents_out"] == len(table)
    assert summary["tokens_out"] == pc.sum(table["n_tokens"]).as_py()


def test_gates_drop_what_is_copied_and_what_adds_facts(augmented):
    _, run, _, _ = augmented
    reasons = {row["reason"]: row["n"] for row in rows(run, "SELECT reason, count(*) AS n FROM synthetic GROUP BY 1")}
    assert reasons["too_much_copied"] > 0
    assert reasons["new_facts"] > 0
    for row in rows(run, "FROM synthetic"):
        fifth = row["seed"] % 5
        if fifth < 2:
            assert not row["accepted"]
        if row["accepted"]:
            assert (row["n_new_facts"], row["reason"]) == (0, None)
            assert row["copy_share"] <= 0.99


def test_no_more_is_written_of_a_domain_than_is_wanting_or_real(augmented):
    _, run, _, _ = augmented
    [domain] = rows(run, "FROM domains")
    [[tokens]] = [list(row.values()) for row in rows(run, "SELECT sum(n_tokens) FROM synthetic WHERE accepted")]
    assert 0 < tokens <= domain["cap"] <= min(domain["wanting"], domain["tokens"])


def test_manifest_and_verify_know_of_it(augmented):
    _, run, server, _ = augmented
    manifest = json.loads((run / "manifest.json").read_text())
    made = manifest["synthetic"]
    assert made["documents"] == len(rows(run, "FROM synthetic WHERE accepted"))
    assert made["share"] == pytest.approx(made["tokens"] / manifest["totals"]["tokens_out"])
    assert made["written"]["teacher"]["model"] == "tiny"
    assert set(made["written"]["prompts"]) == {"augment_rewrite", "augment_questions"}
    assert manifest["stages"][-1]["stage"] == "augment"
    assert manifest["stages"][-1]["written"]["documents"] == made["documents"]
    done = command("verify", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(server.bodies) == made["written"]["questions"]["questions"]


def test_again_nothing_is_asked_and_the_bytes_are_the_same(augmented, finance, tmp_path):
    path, run, server, _ = augmented
    before, asked = digests(run), len(server.bodies)
    carry_out(path)  # whose server is gone
    assert digests(run) == before
    with running(StandIn(writing)) as url:
        other, own = augmenting(finance, tmp_path / "other", url)
        carry_out(other)
    assert digests(own) == before
    assert len(server.bodies) == asked


def test_a_server_that_dies_ends_the_run_and_leaves_no_manifest(finance, tmp_path):
    dying = StandIn(lambda n, body: writing(n, body) if n <= 5 else (500, {}, {"message": "out of memory"}))
    with running(dying) as url:
        path, run = augmenting(finance, tmp_path / "dying", url)
        recipe = yaml.safe_load(path.read_text())
        recipe["teacher"]["vllm"] |= {"concurrency": 1, "retries": 1}
        path.write_text(yaml.safe_dump(recipe))
        with pytest.raises(TeacherError):
            carry_out(path)
        assert not (run / "manifest.json").exists()
        port = int(url.rsplit(":", 1)[1])
    going_on = StandIn(writing)
    with running(going_on, port):
        carry_out(path)
    made = json.loads((run / "manifest.json").read_text())["synthetic"]["written"]
    assert len(going_on.bodies) == made["questions"]["questions"] - 5


def test_a_budget_counts_what_is_written(finance, tmp_path):
    with running(StandIn(writing)) as url:
        path, run = augmenting(
            finance,
            tmp_path / "budget",
            url,
            reference=[str(finance / "seeds.parquet")],
            distill={"keep_tokens": "15%"},
        )
        carry_out(path)
    table = pa.concat_tables([pq.read_table(one) for one in sorted((run / "data").glob("*.parquet"))])
    tokens = pc.sum(table["n_tokens"]).as_py()
    manifest = json.loads((run / "manifest.json").read_text())
    assert tokens == pytest.approx(0.15 * manifest["totals"]["tokens_in"], rel=0.01)
    written = table.filter(table["synthetic"])
    assert len(written) > 0
    names = set(row["doc_id"] for row in rows(run, "FROM domain_documents JOIN decisions USING (doc_id) WHERE kept"))
    real = table.filter(pc.is_in(table["doc_id"], pa.array(sorted(names))))
    assert pc.sum(written["n_tokens"]).as_py() <= pc.sum(real["n_tokens"]).as_py()


def test_evaluate_holds_written_documents_against_real_ones_seen_more_often(augmented):
    _, run, _, _ = augmented
    done = command("evaluate", run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    arms = {row["arm"]: row for row in found["arms"] if row["domain"] is None}
    assert arms["up-sampled"]["tokens"] == pytest.approx(arms["ours"]["tokens"], rel=0.01)
    assert arms["up-sampled"]["documents"] != arms["ours"]["documents"]
    shown = command("evaluate", run).stdout
    beaten = arms["ours"]["bits_per_byte"] < arms["up-sampled"]["bits_per_byte"]
    assert ("Augmentation beats up-sampling" if beaten else "Augmentation does not beat up-sampling") in shown


def test_without_a_model_domains_are_measured_and_nothing_is_written(finance, tmp_path):
    path, run = augmenting(finance, tmp_path / "rules")
    carry_out(path)
    [domain] = rows(run, "FROM domains")
    assert domain["wanting"] > 0
    assert rows(run, "FROM synthetic") == []
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["synthetic"]["documents"] == 0
    done = command("domains", run)
    assert done.returncode == 0
    assert f"finance: {domain['wanting']:,} tokens are wanting still" in done.stdout
    as_json = json.loads(command("domains", run, "--json").stdout)
    assert as_json["domains"][0]["tokens"] == domain["tokens"]


def test_a_run_without_domains_is_told_so(demo):
    done = command("domains", demo)
    assert done.returncode == 1
    assert "names no domains; add tier3.domains to its recipe" in done.stderr


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tier3": {"adapter": {}}}, "tier3.adapter.base"),
        ({"tier3": {"faithful": 3.0}}, "tier3.faithful"),
        ({"tier3": {"compare": True}}, "compare"),
        ({"tier3": {"copy_band": ["80%", "5%"]}}, "copy_band"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(finance, tmp_path, fields, said):
    path, run = augmenting(finance, tmp_path / "bad", **fields)
    with pytest.raises(RecipeError, match=said):
        carry_out(path)
    assert not (run / "ledger" / "snapshot.json").exists() or not duckdb.sql(f"FROM glob('{run}/data/*')").fetchall()
