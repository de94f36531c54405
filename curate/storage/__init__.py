"""Files: committed whole, found at local and remote places, locked, mirrored from and to object stores.

Start in `files.py`. May import what stands at the root of `curate`.
"""
