"""A language model that is asked: by transformers, the vLLM engine, or HTTP, with a cache of its replies.

Start in `protocol.py`. Knows no ledger.
"""
