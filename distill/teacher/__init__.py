"""A language model that is asked: by transformers, by vLLM, or over HTTP, with a cache of its replies.

Start in `protocol.py`. May import the recipe and what comes before it; knows no ledger.
"""
