"""Our verdicts and datatrove's, on the packaged sample, where datatrove is installed."""

import pytest
from support.corpora import SAMPLE
from support.paths import ROOT

PEERS = ROOT / "benchmarks" / "peers"
INSTALLED = (PEERS / ".venv-datatrove" / "bin" / "python").exists()
FILTERS = ["gopher", "c4", "fineweb"]


@pytest.fixture(scope="module")
def compared():
    if not INSTALLED:
        pytest.skip("datatrove is absent: python benchmarks/peers/parity.py installs it")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(PEERS))
        from common import select
        from parity import compare

        found = compare(select([SAMPLE], 300), FILTERS)
    return {name: comparison for (name, _), comparison in found.items()}


@pytest.mark.peers
@pytest.mark.parametrize("name", FILTERS)
def test_the_sets_named_after_datatrove_judge_as_its_filters_do(name, compared):
    assert compared[f"datatrove_{name}"].agreement() >= 0.98


@pytest.mark.peers
def test_gopher_differs_from_datatrove_by_the_share_of_words_with_letters_and_hardly_else(compared):
    kinds = {kind: len(found) for kind, found in compared["gopher"].differences().items()}
    assert kinds.pop(("kept", "gopher_below_alpha_threshold")) > 0
    assert sum(kinds.values()) <= 3
