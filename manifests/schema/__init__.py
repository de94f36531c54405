"""The types of manifest.json, and how one is read.

Start in `model.py`. May import what stands at the root of `curate`.
"""
