"""`curate init`: what a folder holds, what each file is for, and the recipe for it.

Start in `recipe.py`. May import the filters, the corpus, and what comes before them.
"""
