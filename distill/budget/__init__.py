"""A token budget: scores of documents, quotas, and which documents fill it.

Start in `stage.py`. May import tier 2 and what stands before it.
"""
