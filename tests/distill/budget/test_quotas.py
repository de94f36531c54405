"""Quotas of the token budget: by source, by predicted domain, and what no domain wants."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out
from support.recipes import distilling
from support.runs import table
from support.soak import repeats

from curate.errors import RecipeError


def test_quotas_part_the_budget(corpus, tmp_path):
    path, run = distilling(
        corpus, tmp_path,
        {"keep_tokens": "20%", "quotas": {"by": ["source"], "temperature": 0.0}, "novelty": 0},
    )  # fmt: skip
    carry_out(path)
    rows = table(run, "SELECT stratum, available, quota, tokens FROM quotas")
    assert len(rows) > 3
    [(budget,)] = table(run, "SELECT budget FROM rungs")
    assert sum(quota for _, _, quota, _ in rows) == budget
    open_ = [quota for _, available, quota, _ in rows if quota < available]
    assert max(open_) - min(open_) <= 1
    by_source = dict(table(run, "SELECT input.source, sum(n_tokens) FROM corpus WHERE kept GROUP BY 1"))
    assert {stratum: tokens for stratum, _, _, tokens in rows if tokens} == by_source


def test_domains_are_those_of_the_files_of_the_reference(corpus, tmp_path):
    reference = pq.read_table(corpus / "reference.parquet")
    sources = reference["source"].to_pylist()
    some = sorted(set(sources), key=lambda source: -sources.count(source))[:2]
    for k, source in enumerate(some):
        for half in range(2):
            own = [s == source and i % 2 == half for i, s in enumerate(sources)]
            pq.write_table(reference.filter(pa.array(own)), tmp_path / f"kind{'ab'[k]}-0000{half}-of-00002.parquet")
    path, run = distilling(corpus, tmp_path, reference=[str(tmp_path / "kind*.parquet")])
    carry_out(path)
    assert {name for (name,) in table(run, "SELECT DISTINCT domain FROM kept")} <= {"kinda", "kindb", None}
    found = table(run, f"""SELECT input.source, domain, count(*) FROM corpus
        WHERE domain IS NOT NULL AND input.source IN ('{some[0]}', '{some[1]}') GROUP BY ALL""")  # fmt: skip
    right = sum(n for source, domain, n in found if domain == f"kind{'ab'[some.index(source)]}")
    assert right > 0.8 * sum(n for *_, n in found)


def reference_of_sources(corpus, folder, count):
    """Files of a reference, one for each of the sources that it has most texts of."""
    reference = pq.read_table(corpus / "reference.parquet")
    sources = reference["source"].to_pylist()
    folder.mkdir()
    for k, source in enumerate(sorted(set(sources), key=lambda source: (-sources.count(source), source))[:count]):
        pq.write_table(reference.filter(pc.equal(reference["source"], source)), folder / f"kind{'abcdef'[k]}.parquet")
    return [str(folder / "*.parquet")]


FAR = "likeness < 0"  # less like the reference than like the corpus


def test_without_a_reference_every_document_fills_the_quota_of_its_nearest_domain(corpus, tmp_path):
    path, run = distilling(corpus, tmp_path, {"keep_tokens": "20%", "quotas": {"by": ["domain"]}}, reference=[])
    carry_out(path)
    [(unlike,)] = table(run, "SELECT count(*) FROM documents WHERE importance < 0 AND domain IS NOT NULL AND kept")
    available = "SELECT sum(n_tokens) FROM documents WHERE domain IS NULL AND (kept OR stage = 'distil')"
    assert table(run, "SELECT available FROM quotas WHERE stratum = 'none'") in ([], table(run, available))
    assert unlike > 0


@pytest.mark.parametrize("temperature", [0.05, *repeats(0.0)])
def test_what_is_like_no_domain_is_kept_only_when_nothing_else_is_left(corpus, tmp_path, temperature):
    fields = {"reference": reference_of_sources(corpus, tmp_path / "reference", 3)}
    distill = {
        "keep_tokens": "20%",
        "temperature": temperature,
        "novelty": 0,
        "quotas": {"by": ["domain"], "floor": "10%", "least_likeness": 0},
    }
    path, run = distilling(corpus, tmp_path, distill, **fields)
    carry_out(path)
    count = "SELECT count(*) FROM documents WHERE"
    [(near_dropped,)] = table(run, f"{count} NOT {FAR} AND reason = 'over_budget'")
    [(far_dropped,)] = table(run, f"{count} {FAR} AND reason = 'over_budget'")
    assert near_dropped > 20 < far_dropped
    # What is kept of it at last is so little that nothing better would fit.
    [(room,)] = table(run, f"SELECT min(n_tokens) FROM documents WHERE NOT {FAR} AND reason = 'over_budget'")
    [(far_kept,)] = table(run, f"SELECT coalesce(sum(n_tokens), 0) FROM documents WHERE {FAR} AND kept")
    assert far_kept < room
    available = f"SELECT sum(n_tokens) FROM documents WHERE ({FAR} OR domain IS NULL) AND (kept OR stage = 'distil')"
    [(tokens, quota, kept)] = table(run, "SELECT available, quota, tokens FROM quotas WHERE stratum = 'none'")
    assert [(tokens,)] == table(run, available)
    assert (quota, kept) == (0, far_kept)
    # A document's quality is its place among all that are nearest to its domain.
    assert table(run, f"SELECT count(*) FROM documents WHERE {FAR} AND quality > 0.9") == [(0,)]
    carry_out(path, "distill.keep_tokens=95%")
    assert table(run, f"{count} NOT {FAR} AND reason = 'over_budget'") == [(0,)]
    assert table(run, f"{count} {FAR} AND kept") > [(0,)]


def test_an_optional_stratum_that_the_input_lacks_leaves_quotas_by_domain(corpus, tmp_path):
    path, run = distilling(
        corpus, tmp_path, {"keep_tokens": "20%", "quotas": {"by": ["site", "domain"], "least_likeness": 0}}
    )
    carry_out(path, "input.strata=['site?']")
    assert {"none"} < {name for (name,) in table(run, "SELECT stratum FROM quotas")}


def test_a_column_of_too_many_values_makes_no_quotas(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.distill.budget.candidates.MAX_STRATA", 3)
    path, _ = distilling(corpus, tmp_path, {"keep_tokens": "20%", "quotas": {"by": ["source"]}})
    with pytest.raises(RecipeError, match=r"quotas\.by: makes more than 3 strata; leave out a column of many values"):
        carry_out(path)


def test_weights_tell_how_often_a_thin_stratum_is_to_be_repeated(corpus, tmp_path):
    sources = pq.read_table(corpus / "corpus.parquet")["source"].to_pylist()
    rare = min(set(sources), key=lambda source: (sources.count(source), source))
    quotas = {"by": ["source"], "targets": {rare: "50%"}}
    path, run = distilling(corpus, tmp_path, {"keep_tokens": "40%", "quotas": quotas, "novelty": 0})
    carry_out(path)
    weights = dict(table(run, "SELECT input.source, avg(weight) FROM corpus WHERE kept GROUP BY 1"))
    [(tokens,)] = table(run, f"SELECT sum(n_tokens) FROM corpus WHERE kept AND input.source = '{rare}'")
    [(budget,)] = table(run, "SELECT tokens FROM rungs")
    assert weights.pop(rare) == pytest.approx(min(4.0, 0.5 * budget / tokens), rel=0.01)
    assert min(weights.values()) == 1.0
