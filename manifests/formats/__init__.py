"""One trainer's format a file, each with its `FORMAT`.

Start in `jsonl.py`. May import `../export/`, `../cards/` and what the manifests may.
"""
