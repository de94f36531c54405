"""`curate init`: what lies in a folder, what each file is for, and the recipe that is written for it.

Start in `recipe.py`. May import all but report, api and cli.
"""
