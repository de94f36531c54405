"""Where tasks run: in this process, in processes of this machine, or on a Ray cluster.

Start in `base.py`. May import distill/teacher, whose models run on a cluster's GPUs, and the packages above it.
"""
