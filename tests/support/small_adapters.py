"""Adapters that train in seconds."""

from curate.distill.lora.train import train_adapter
from curate.progress import unwritten_log
from curate.recipe.tier3 import Adapter

TEXTS = [f"The bank of {k} raised its rate by {k % 7} points, and loans to {k * 3} towns fell. " * 4 for k in range(40)]
SMALL = Adapter(context=24, batch=2, steps=12, check_every=3, learning_rate=1e-2, rank=4, patience=9)


def trained(model, folder, section=SMALL, texts=TEXTS, seed=5):
    return train_adapter(texts, TEXTS[:3], section, (str(model), None), folder, seed, unwritten_log(quiet=False))
