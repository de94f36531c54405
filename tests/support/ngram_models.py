"""N-gram models that `curate lm train` makes of a few lines."""

import json
from pathlib import Path

from curate.filters.language.train import Training, parse_prune, train

MEMORY = 1_000_000_000


def trained(inputs, output, order, prune=None, threads=2, memory=MEMORY, text="text"):
    inputs = [inputs] if isinstance(inputs, Path) else inputs
    bounds = parse_prune(prune, order)
    train(Training(tuple(map(str, inputs)), output, order, bounds, text, "words", memory, threads, quiet=True))
    return output


def write_lines(path, lines):
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), "utf-8")
    return path
