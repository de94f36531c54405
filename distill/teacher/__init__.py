"""Teachers: language models run by transformers, by vLLM, or behind HTTP servers, with a cache of their replies.

Start in `protocol.py`. May import the recipe and what comes before it; knows no ledger.
"""
