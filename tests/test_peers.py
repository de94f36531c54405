"""Our verdicts and datatrove's, on the packaged sample, where datatrove is installed."""

from pathlib import Path

import pytest
from conftest import SAMPLE

PEERS = Path(__file__).parent.parent / "benchmarks" / "peers"
INSTALLED = (PEERS / ".venv" / "bin" / "python").exists()


@pytest.mark.peers
@pytest.mark.skipif(not INSTALLED, reason="datatrove is absent: python benchmarks/peers/parity.py installs it")
def test_gopher_judges_as_datatrove_does_but_for_the_share_of_words_with_letters(monkeypatch):
    monkeypatch.syspath_prepend(str(PEERS))
    from common import select
    from parity import compare

    compared = compare(select([SAMPLE], 300), ["gopher"])
    assert compared["gopher", "as datatrove"].agreement() >= 0.99
    kinds = {kind: len(found) for kind, found in compared["gopher", "as published"].differences().items()}
    assert kinds.pop(("kept", "gopher_below_alpha_threshold")) > 0
    assert sum(kinds.values()) <= 3
