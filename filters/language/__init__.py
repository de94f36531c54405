"""The language of a text and n-gram models of languages: identification, perplexity, training.

Start in `perplexity.py`. May import the registry, the corpus, the ledger, and what comes before them.
"""
