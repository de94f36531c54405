"""Recipes over small corpora, and the sections of tiers that many tests have."""

import yaml

DISTILL = {"keep_tokens": "15%", "ladder": ["5%", "10%"]}
TIER2 = {"attacks": 12, "rounds": 2, "max_false_drop": 0.05, "held_out": "repetition"}


def purifying(corpus, folder, **fields):
    """A recipe with a second tier over such a corpus, and its run directory."""
    folder.mkdir(exist_ok=True)
    changes = {"tier2": TIER2, "reference": [str(corpus / "reference.parquet")], "seed": 3, **fields}
    path, run = write_recipe(folder, corpus / "corpus.parquet", **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"]["id"] = "id"
    path.write_text(yaml.safe_dump(recipe))
    return path, run


def distilling(corpus, folder, distill=DISTILL, **fields):
    """A recipe with a budget over such a corpus, and its run directory."""
    changes = {"reference": [str(corpus / "reference.parquet")], "seed": 3, **fields}
    path, run = write_recipe(folder, corpus / "corpus.parquet", distill=distill, **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"] |= {"id": "id", "strata": ["source"]}
    path.write_text(yaml.safe_dump(recipe))
    return path, run


def write_recipe(folder, inputs, **fields):
    """A recipe file over `inputs` with a run directory beside it; returns both paths."""
    path = folder / "recipe.yaml"
    recipe = {"name": "test", "output": str(folder / "run"), "input": {"paths": [str(inputs)]}, **fields}
    path.write_text(yaml.safe_dump(recipe))
    return path, folder / "run"
