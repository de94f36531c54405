"""The pools of benchmarks/retention.py: what the proxy is asked about stands nowhere else."""

import io
import tarfile
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
WORDS = [a + b for a in ("ba", "do", "ki", "lu", "me", "so") for b in ("ran", "tel", "vis", "mon", "gar", "pid")]


@pytest.fixture
def pools(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import quality_pools

    return quality_pools


def prose(draw, sentences=6):
    """Sentences that no other text has."""
    return " ".join(" ".join(draw.choices(WORDS, k=12)).capitalize() + "." for _ in range(sentences))


@pytest.fixture
def corpora(tmp_path):
    """Two domains of 100 texts and 100 pages; some texts stand twice, and some pages quote a text of law."""
    draw = Random(3)
    law, news = ([prose(draw) for _ in range(100)] for _ in range(2))
    pages = ["\n".join([prose(draw) for _ in range(4)] + law[k : k + 1] * (k < 20)) for k in range(100)]
    for file, texts in (("reference/law", law + law[:10]), ("reference/news", news), ("web/pages", pages)):
        path = tmp_path / "corpora" / f"{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"id": [str(k) for k in range(len(texts))], "text": texts, "license": ["CC0"] * len(texts)}
        pq.write_table(pa.table(rows), path)
    return tmp_path / "corpora"


def mixed(pools, corpora, folder, seed=1, **fields):
    noise = {"noise": (pools.Source("web/pages"),), "families": ("sentence_shuffle",), "attacked": 20_000}
    pool = pools.Pool(about="", copies=0.1, shuffled=5_000, **noise, **fields)
    output = pools.mix(corpora, folder, "x", pool, seed)
    return {part: pq.read_table(output / part).to_pylist() for part in ("pool", "reference", "heldout")}


def archive(folder, version, pages):
    """A source archive of a project with a manual, as a package index has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"django-{version}.tar.gz", "w:gz") as opened:
        for name, text in pages.items():
            member = tarfile.TarInfo(f"django-{version}/docs/{name}")
            member.size = len(text.encode())
            opened.addfile(member, io.BytesIO(text.encode()))


def test_no_text_stands_in_two_parts(pools, corpora, tmp_path):
    parts = mixed(pools, corpora, tmp_path / "out")
    planted = [row["text"] for row in parts["pool"] if row["planted"]]
    good = planted + [row["text"] for part in ("reference", "heldout") for row in parts[part]]
    assert len(set(good)) == len(good)
    assert len(planted) > 60
    assert {row["source"] for row in parts["heldout"]} == {"law", "news"}
    everything = "\n".join(row["text"] for part in ("pool", "reference") for row in parts[part])
    assert not any(row["text"] in everything for row in parts["heldout"])


def test_noise_is_not_planted_and_the_recipe_need_not_know(pools, corpora, tmp_path):
    rows = mixed(pools, corpora, tmp_path / "out")["pool"]
    kinds = {(row["source"], row["planted"]) for row in rows}
    assert kinds == {("law", True), ("news", True), ("pages", False), ("attacked", False), ("shuffled", False)}
    assert len({row["id"] for row in rows}) == len(rows)


def test_opposite_halves_are_planted(pools, corpora, tmp_path):
    one, other = (mixed(pools, corpora, tmp_path / str(begin), planted=begin)["pool"] for begin in (0.0, 0.5))
    first, second = ({row["text"] for row in rows if row["planted"]} for rows in (one, other))
    assert first.isdisjoint(second)
    assert len(first | second) == 200


def test_a_seed_makes_the_same_pool_again_and_another_one_another(pools, corpora, tmp_path):
    one, same, other = (mixed(pools, corpora, tmp_path / str(k), seed) for k, seed in enumerate((1, 1, 2)))
    assert one == same
    assert one["heldout"] != other["heldout"]


def test_a_pool_plants_as_much_of_a_kind_as_it_says_and_its_reference_may_lack_kinds_or_be_thin(
    pools, corpora, tmp_path
):
    parts = mixed(pools, corpora, tmp_path / "out", good={"law": 10_000}, unknown=("news",), reference=5)
    planted = [row for row in parts["pool"] if row["planted"]]
    law = sum(len(row["text"].encode()) for row in planted if row["source"] == "law")
    assert 9_000 < law <= 10_000
    assert {row["source"] for row in parts["reference"]} == {"law"}
    assert len(parts["reference"]) == 5
    assert {row["source"] for row in parts["heldout"]} == {"law", "news"}


def test_documents_of_strangers_are_planted_and_neither_known_nor_held_out(pools, corpora, tmp_path):
    pq.write_table(pq.read_table(corpora / "reference" / "news.parquet"), corpora / "web" / "other.parquet")
    (corpora / "reference" / "news.parquet").unlink()
    parts = mixed(pools, corpora, tmp_path / "out", strangers=(pools.Source("web/other", size=30_000),))
    assert {row["source"] for row in parts["pool"] if row["planted"]} == {"law", "other"}
    assert {row["source"] for part in ("reference", "heldout") for row in parts[part]} == {"law"}


def test_each_page_of_a_manual_is_in_the_pool_in_all_its_versions(pools, corpora, tmp_path):
    from quality_noise import MANUALS

    draw = Random(4)
    pages = {name: prose(draw, 8) for name in ("intro.txt", "faq.txt")}
    for version in MANUALS["django"].versions:
        changed = {name: f"{text} New in {version}." for name, text in pages.items()}
        archive(tmp_path / "manuals", version, changed | {"logo.png": "x" * 600})
    rows = mixed(pools, corpora, tmp_path / "seed-1", manuals={"django": 10**6})["pool"]
    versions = [row["text"] for row in rows if row["source"] == "manual_django"]
    assert len(versions) == len(set(versions)) == 2 * len(MANUALS["django"].versions)
    assert all(any(text.startswith(page) for page in pages.values()) for text in versions)


def test_contracts_have_formulae_tables_and_versions(pools, corpora, tmp_path, monkeypatch):
    from quality_noise import contracts

    law = pq.read_table(corpora / "reference" / "law.parquet")
    texts = contracts(law, 100_000, 1)["text"].to_pylist()
    assert sum(map(len, texts)) >= 90_000
    assert all(text.startswith("AGREEMENT No.") for text in texts)
    assert any("instalment" in text for text in texts)
    assert any(" × " in text for text in texts)
    assert contracts(law, 100_000, 1)["text"].to_pylist() == texts


def test_what_is_selected_from_a_pool_is_measured_against_all_of_it_and_random_documents(pools, corpora, tmp_path):
    from retention_arms import indices_of, measure, open_pool

    mixed(pools, corpora, tmp_path / "out")
    pool = open_pool(tmp_path / "out" / "x", vocabulary=300)
    planted = pool.doc_ids.filter(pool.planted).to_pylist()
    rows = {(row.arm, row.domain): row for row in measure(pool, {"planted": planted, "everything": pool.doc_ids})}
    assert rows["everything", None].retained == 1
    assert rows["planted", None].documents == len(planted) == len(indices_of(pool, planted))
    assert rows["planted", "law"].control_bits_per_byte > 0
    again = measure(open_pool(tmp_path / "out" / "x", vocabulary=300), {"planted": planted})
    assert rows["planted", None] in again
    with pytest.raises(SystemExit, match="no document 'x-none'"):
        indices_of(pool, ["x-none"])
