"""The third tier in whole runs: a server that writes documents anew, the gates, the budget, and what the run tells."""

import json
import shutil
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command
from support.runs import digests
from support.stand_in import StandIn, running
from support.thin_domain import TARGET, augmenting, writing

from curate.errors import InputError, RecipeError, TeacherError
from curate.ledger.run import connect
from curate.manifests.verify import verify
from curate.progress import unwritten_log
from curate.report.page import write_report

COLUMNS = ["doc_id", "synthetic", "text"]


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
    assert real["written"].null_count == len(real)
    made = {one["doc_id"]: one for one in accepted}
    for doc_id, by in zip(written["doc_id"].to_pylist(), written["written"].to_pylist(), strict=True):
        assert by == {name: made[doc_id][name] for name in by}
        assert len(by["prompt_sha256"]) == 64
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
    assert len(server.bodies) == made["written"]["questions"]["finance"]["asked"]


def test_again_nothing_is_asked_and_the_bytes_are_the_same(augmented):
    path, run, server, _ = augmented
    before, asked = digests(run), len(server.bodies)
    carry_out(path)  # whose server is gone
    assert digests(run) == before
    assert len(server.bodies) == asked


@pytest.mark.slow  # a whole run more: test_same_bytes.py has workers
def test_two_workers_write_the_same_bytes(augmented, finance, tmp_path):
    _, run, _, _ = augmented
    with running(StandIn(writing)) as url:
        other, own = augmenting(finance, tmp_path / "other", url)
        done = command("run", other, "--workers", 2, "--quiet")
    assert done.returncode == 0, done.stderr
    assert digests(own) == digests(run)


def test_what_is_drawn_does_not_hang_on_the_files_that_lay_in_its_place(finance, tmp_path):
    shutil.copytree(finance, tmp_path / "parts")
    domain = {"name": "finance", "seeds": [str(finance / "seeds.parquet")], "target_tokens": 108_000}
    asked = []
    for place in ("own", "other"):
        with running(StandIn(writing)) as url:
            path, run = augmenting(tmp_path / "parts", tmp_path / place, url, tier3={"domains": [domain]})
            carry_out(path)
            if place == "own":
                corpus = tmp_path / "parts" / "corpus" / "0.parquet"
                pq.write_table(pq.read_table(corpus), corpus, compression="zstd")  # the same documents in another file
                carry_out(path)
        asked.append(pq.read_table(run / "synthetic" / "synthetic.parquet")["doc_id"].to_pylist())
    assert asked[0] == asked[1] != []


def test_a_server_that_dies_ends_the_run_and_leaves_no_manifest(augmented, finance, tmp_path):
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
    assert len(going_on.bodies) == made["questions"]["finance"]["asked"] - 5
    assert digests(run) == digests(augmented[1])


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


def test_another_budget_asks_nothing_and_has_as_much_as_it_may(finance, tmp_path):
    seeds = [str(finance / "seeds.parquet")]
    domain = {"name": "finance", "seeds": seeds, "target_tokens": 130_000}
    fields = {"reference": seeds, "distill": {"keep_tokens": "5%"}, "tier3": {"domains": [domain]}}
    with running(StandIn(writing)) as url:
        path, run = augmenting(finance, tmp_path / "first", url, **fields)
        carry_out(path)
    [few] = rows(run, "SELECT sum(n_tokens) AS n FROM synthetic WHERE accepted")
    carry_out(path, "distill.keep_tokens=40%")  # whose server is gone
    [many] = rows(run, "SELECT sum(n_tokens) AS n FROM synthetic WHERE accepted")
    assert (few["n"] or 0) < many["n"]
    before = digests(run)
    carry_out(path, "distill.keep_tokens=40%")
    assert digests(run) == before
    assert command("verify", run).returncode == 0


def test_an_export_has_written_documents_too(augmented, tmp_path):
    _, run, _, _ = augmented
    done = command("export", run, "--to", "hf", "--out", tmp_path, "--validation", "0")
    assert done.returncode == 0, done.stderr
    data, exported = (
        pa.concat_tables(
            [pq.read_table(path, columns=["doc_id", "synthetic"]) for path in sorted(folder.rglob("*.parquet"))]
        )
        for folder in (run / "data", tmp_path)
    )
    assert exported.sort_by("doc_id").equals(data.sort_by("doc_id"))


def test_evaluate_holds_written_documents_against_real_ones_seen_more_often(augmented):
    _, run, _, _ = augmented
    done = command("evaluate", run, "--draws", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    arms = {row["arm"]: row for row in found["arms"] if row["domain"] is None}
    assert arms["ours"]["tokens"] <= arms["up-sampled"]["tokens"] < 1.05 * arms["ours"]["tokens"]
    assert arms["up-sampled"]["documents"] != arms["ours"]["documents"]
    shown = command("evaluate", run, "--draws", "1").stdout
    beaten = arms["up-sampled"]["behind_low"] > 0
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
    assert verify(run, 2, unwritten_log(True)) == []
    assert 'id="domains"' in write_report(run).read_text("utf-8")
    as_json = json.loads(command("domains", run, "--json").stdout)
    assert as_json["domains"][0]["tokens"] == domain["tokens"]


def test_a_run_without_domains_is_told_so(demo):
    done = command("domains", demo)
    assert done.returncode == 1
    assert "names no domains; add tier3.domains to its recipe" in done.stderr


SERVER = {"vllm": {"urls": ["http://127.0.0.1:9"]}}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tier3": {"adapter": {}}}, "tier3.adapter.base: is null, and teacher is rules"),
        ({"tier3": {"adapter": {}}, "teacher": SERVER}, "tier3.adapter.base: is null, and servers do not tell"),
        ({"tier3": {"adapter": {"base": "/no/where"}}}, "tier3.adapter.base: /no/where: no such folder"),
        ({"teacher": {"vllm": {"urls": ["http://127.0.0.1:9"], "lora": {"a": "/no"}}}}, "lora.a: /no: no folder"),
        ({"tier3": {"faithful": 3.0}}, "tier3.faithful"),
        ({"tier3": {"compare": True}}, "compare"),
        ({"tier3": {"copy_band": ["80%", "5%"]}}, "copy_band"),
        ({"tier3": {"domains": [{"name": "a", "seeds": ["no.parquet"], "target_tokens": 9}]}}, "a: no.parquet matches"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(finance, tmp_path, fields, said):
    path, run = augmenting(finance, tmp_path / "bad", **fields)
    with pytest.raises((RecipeError, InputError), match=said):
        carry_out(path)
    assert not (run / "ledger" / "snapshot.json").exists()


@pytest.mark.skipif(bool(find_spec("torch")), reason="torch is installed here")
@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"tier3": {"adapter": {"base": "a/name"}}}, "lora"),
        ({"teacher": {"transformers": "a/name"}}, "transformers"),
        ({"teacher": {"vllm": {"serve": "a/name"}}}, "vllm"),
        ({"teacher": {"vllm_engine": "a/name"}}, "vllm"),
    ],
)
def test_what_is_not_installed_is_told_before_anything_is_read(finance, tmp_path, fields, extra):
    path, run = augmenting(finance, tmp_path / "bad", **fields)
    with pytest.raises(TeacherError, match=rf"pip install 'curate-lm\[{extra}\]'"):
        carry_out(path)
    assert not (run / "ledger" / "snapshot.json").exists()
