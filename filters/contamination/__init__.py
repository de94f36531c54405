"""Evaluation sets: a table of their n-grams, and which of these a text contains.

Start in `benchmarks.py`. May import the registry, the corpus, and what comes before them.
"""
