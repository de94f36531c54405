"""Tier 3: documents written for a domain that the corpus has too little of.

Start in `write.py`; the stage that runs it is `curate/pipeline/augment.py`. May import decide and what comes before it.
"""
