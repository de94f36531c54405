"""Evaluation sets: their n-grams as a table, and which of them a text contains.

Start in `benchmarks.py`. May import the registry, the corpus, and what comes before them.
"""
