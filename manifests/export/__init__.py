"""From shards to what a trainer reads: pieces, splits, mixtures, tokens.

Start in `export.py`; `../formats/` has one trainer a file. May import what the manifests may.
"""
