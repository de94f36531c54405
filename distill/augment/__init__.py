"""Tier 3: documents written by a model for domains that are thin in the corpus.

Start in `write.py`; the stage that runs it is `curate/pipeline/augment.py`. May import decide and what comes before it.
"""
