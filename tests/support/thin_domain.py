"""A run with a third tier: a corpus with seeds, and a server that writes documents anew as a model would."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out
from support.corpora import SAMPLE
from support.recipes import write_recipe
from support.stand_in import StandIn, running

TARGET = 112_000
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


@pytest.fixture(scope="session")
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
    corpus = pq.read_table(folder / "corpus.parquet")
    (folder / "corpus").mkdir()
    for k, start in enumerate((0, 500)):  # two files, which two workers can read
        pq.write_table(corpus.slice(start, 500 if k == 0 else None), folder / "corpus" / f"{k}.parquet")
    (folder / "corpus.parquet").unlink()
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
    changes["evaluate"] = {
        "heldout": [str(finance / "heldout.parquet")],
        "least": 5,
        "vocabulary": 1000,
        "track": False,
        "ablate": False,
    }
    path, run = write_recipe(folder, finance / "corpus", **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"] |= {"id": "id", "strata": ["source"]}
    path.write_text(yaml.safe_dump(recipe))
    return path, run


@pytest.fixture(scope="session")
def augmented(finance, tmp_path_factory):
    """A finished run, and the server that wrote for it."""
    server = StandIn(writing)
    with running(server) as url:
        path, run = augmenting(finance, tmp_path_factory.mktemp("augmented"), url)
        summary = carry_out(path)
    return path, run, server, summary
