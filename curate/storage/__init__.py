"""Files: committed whole, at local and remote places, locked, mirrored to and from object stores.

Start in `files.py`. May import the modules at the root of `curate`, and process.
"""
