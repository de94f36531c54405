"""LoRA adapters of domains: texts, model, training, files.

Start in `train.py`. May import the teacher, distill/text, the maps, and what comes before them.
"""
