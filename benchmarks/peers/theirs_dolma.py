"""Exact duplicates and Gopher's rules by dolma. Runs in its own environment and knows nothing of curate.

Usage: python theirs_dolma.py exact|gopher CORPUS OUT    write the rows that dolma drops, as JSON

CORPUS has documents.jsonl.gz, whose ids are rows. `exact` is the Bloom filter of documents by their texts (`dolma
dedupe`), sized for a million documents and a false positive in a million. `gopher` is the tagger `gopher_v2` (`dolma
tag`) and the mixer (`dolma mix`) with Gopher's bounds; the tagger has the median of word lengths where Gopher has the
mean.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

DOLMA = Path(sys.executable).parent / "dolma"
DOCUMENTS = Path("corpus/documents/part.jsonl.gz")  # it wants a folder above `documents`
BOUNDS = {
    "word_count": (50, 100_000),
    "median_word_length": (3, 10),
    "symbol_to_word_ratio": (None, 0.1),
    "fraction_of_words_with_alpha_character": (0.8, None),
    "required_word_count": (2, None),
    "fraction_of_lines_starting_with_bullet_point": (None, 0.9),
    "fraction_of_lines_ending_with_ellipsis": (None, 0.3),
}


def main(job: str, corpus: str, out: str) -> None:
    """Do what the usage says, in the working directory."""
    DOCUMENTS.parent.mkdir(parents=True)
    DOCUMENTS.symlink_to(Path(corpus) / "documents.jsonl.gz")
    number = json.loads((Path(corpus) / "number.json").read_text())
    dropped = {"exact": exact, "gopher": gopher}[job](number)
    Path(out).write_text(json.dumps(dropped))


def exact(_: int) -> list[int]:
    """Documents that the filter has seen."""
    dolma("dedupe", {
        "documents": [str(DOCUMENTS)],
        "dedupe": {"name": "copies", "documents": {"attribute_name": "copies", "key": "$.text"}},
        "bloom_filter": {
            "file": "bloom.bin", "read_only": False,
            "estimated_doc_count": 1_000_000, "desired_false_positive_rate": 1e-6,
        },
    })  # fmt: skip
    with gzip.open("corpus/attributes/copies/part.jsonl.gz", "rt") as lines:
        return [int(found["id"]) for line in lines if (found := json.loads(line))["attributes"]]


def gopher(number: int) -> list[int]:
    """Documents outside the bounds."""
    dolma("tag", {"documents": [str(DOCUMENTS)], "taggers": ["gopher_v2"], "processes": 1})
    name = "$.attributes[?(@.gopher_v2__gopher_v2__{} && @.gopher_v2__gopher_v2__{}[0][2] {})]"
    beyond = [
        (column, f"{sign} {bound}")
        for column, bounds in BOUNDS.items()
        for sign, bound in zip("<>", bounds, strict=True)
        if bound is not None
    ]
    dolma("mix", {"processes": 1, "streams": [{
        "name": "kept",
        "documents": [str(DOCUMENTS)],
        "attributes": ["gopher_v2"],
        "output": {"path": "kept", "max_size_in_bytes": 1_000_000_000},
        "filter": {"include": [], "exclude": [name.format(column, column, test) for column, test in beyond]},
    }]})  # fmt: skip
    kept = set()
    for path in Path("kept").iterdir():
        with gzip.open(path, "rt") as lines:
            kept |= {int(json.loads(line)["id"]) for line in lines}
    return sorted(set(range(number)) - kept)


def dolma(what: str, configuration: dict[str, object]) -> None:
    """Carry out a command of dolma."""
    path = Path(f"{what}.json")
    path.write_text(json.dumps(configuration))
    subprocess.run([DOLMA, "--config", path, what], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
