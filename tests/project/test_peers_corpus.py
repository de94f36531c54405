"""What the comparison with other tools stands on: its corpus, its truth, its meter."""

import re
import sys
from itertools import combinations

import pytest
from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[k : k + 5]) for k in range(max(1, len(words) - 4))} if words else set()


def test_the_corpus_is_the_same_each_time_and_its_pairs_are_those_that_are_alike():
    from corpus import equal_pairs, generate, similar_pairs

    texts = generate(300)
    assert texts == generate(300)
    assert texts != generate(300, seed=18)
    sets = [shingles(text) for text in texts]
    alike = [
        (a, b) for a, b in combinations(range(300), 2) if 5 * len(sets[a] & sets[b]) >= 4 * len(sets[a] | sets[b]) > 0
    ]
    assert similar_pairs(texts) == alike
    assert 30 < len(alike) < 200
    assert 10 < len(equal_pairs(texts)) < len(alike)


def test_of_a_family_all_but_one_are_to_be_dropped():
    from corpus import judge

    family = [(1, 2), (1, 3), (2, 3)]
    assert judge({2, 3}, family) == (1, 1)
    assert judge({1, 2, 3}, family) == (0, 1)
    assert judge({2, 7}, family) == (0.5, 2 / 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_the_meter_counts_what_a_process_leaves_behind(tmp_path):
    from meter import measure

    busy = "import time; all(time.process_time() < 0.5 for _ in iter(int, 1))"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    assert measure([sys.executable, "-c", orphan], tmp_path).cpu >= 0.5
    with pytest.raises(RuntimeError, match="exit code 3: no such thing"):
        measure([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_the_page_keeps_the_part_that_the_other_script_writes(tmp_path, monkeypatch):
    import page

    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    page.PAGE.write_text("# Benchmarks\n\nold\n\n## Beside other tools\n\nold tools\n")
    page.write_page("# Benchmarks\n\nnew\n", page.parts_of_page()[1])
    page.write_page(page.parts_of_page()[0], "## Beside other tools\n\nnew tools\n")
    assert page.PAGE.read_text() == "# Benchmarks\n\nnew\n\n## Beside other tools\n\nnew tools\n"
