"""The names of all formats of `curate export`, without their modules."""

MODULES = {  # by format: the module that has its FORMAT
    "hf": "hf",
    "jsonl": "jsonl",
    "dpo": "dpo",
    "trl": "trl",
    "llama-factory": "llama_factory",
    "axolotl": "axolotl",
    "torchtitan": "torchtitan",
    "mds": "mds",
    "litdata": "litdata",
    "webdataset": "webdataset",
    "megatron": "megatron",
    "olmo": "olmo",
    "nanotron": "nanotron",
}
