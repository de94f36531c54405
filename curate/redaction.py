"""Credentials in what is told or published: passwords and signatures of URLs, tokens, and keys of this process.

Everything that a run writes for other eyes goes through here: its log, its copy of the recipe, the manifest and what is
made of it, errors, progress. What the run itself needs, such as the address of a server, stays as it is in memory.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
LEAST = 8  # characters of a key: a shorter one would be found in ordinary words
# Variables of the environment that hold a key, besides the one that the recipe names.
VARIABLES = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "VLLM_API_KEY", "OPENAI_API_KEY", "WANDB_API_KEY",
)  # fmt: skip
# `user:password@` of a URL; a password may itself hold an @.
USER = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
PARAMETER = re.compile(
    r"(?i)(?<=[?&;#])(x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|"
    r"signature|sig|(?:[a-z]+[_-])?(?:token|secret|key|password|passwd)|apikey|pwd|auth|credential)=[^&\s#;'\"<>]+"
)
HEADER = re.compile(r"(?i)\b(bearer|authorization: *\w+) +(?=\S*\d)[\w.~+/=-]{8,}")
# Tokens that are known by how they begin: Hugging Face, OpenAI, GitHub, GitLab, Slack, AWS, Google, JWT.
TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-(?=[\w-]*\d)[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|"
    r"glpat-[\w-]{20,}|xox[abeprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|"
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})(?![\w-])"
)
_keys: set[str] = set()


def hide(key: str) -> None:
    """Redact a key from now on, wherever this process writes it."""
    _keys.add(key)


def redacted(text: str) -> str:
    """`text` with *** for each credential."""
    for key in sorted({*_keys, *(os.environ.get(name, "") for name in VARIABLES)}, key=len, reverse=True):
        if len(key) >= LEAST:
            text = text.replace(key, HIDDEN)
    if "://" in text:
        text = USER.sub(f"{HIDDEN}@", text)
    if "=" in text:
        text = PARAMETER.sub(rf"\1={HIDDEN}", text)
    return TOKEN.sub(HIDDEN, HEADER.sub(rf"\1 {HIDDEN}", text))


def redacted_values(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """A value of JSON with each text in it redacted; names of fields stay."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {name: redacted_values(one) for name, one in value.items()}
    return [redacted_values(one) for one in value] if isinstance(value, list | tuple) else value
