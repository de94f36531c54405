"""The language of a text and n-gram models of languages: identification, perplexity, training.

Start in `perplexity.py`. May import kernels, the registry, the corpus and the ledger.
"""
