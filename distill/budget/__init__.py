"""A token budget: scores of documents, quotas, and which documents fill it.

Start in `stage.py`. May import purify, the scoring, the maps, and what comes before them.
"""
