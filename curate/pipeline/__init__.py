"""A run: plan, reuse, the order of stages, index; and what runs within or beside one: augment, evaluate, gc.

Start in `run.py`; `checks/` has what is refused or warned of early, `forecast/` is `curate plan`. May import everything
but cli.
"""
