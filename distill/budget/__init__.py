"""The token budget: scores of documents, quotas of strata, and the documents that fill them.

Start in `stage.py`. May import purify, the scoring, the maps, and what comes before them.
"""
