"""How tasks are run: in this process, in processes of this machine, or on a Ray cluster.

Start in `base.py`. May import storage, the recipe and distill/teacher, whose models run on a cluster's GPUs.
"""
