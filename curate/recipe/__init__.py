"""The recipe: one file per section of the YAML, its values, and how it is loaded.

Start in `recipe.py`. May import `curate.storage` and the packages before it.
"""
