"""`curate init`: survey a folder, find the role of each file, and write a recipe.

Start in `recipe.py`. May import the filters, the corpus, and the packages above them.
"""
