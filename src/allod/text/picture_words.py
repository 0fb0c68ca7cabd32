"""What stands for a picture in prompts of a family whose chat template does not say it.

Checkpoints that were converted often keep a template for words only. These are the marks that the families'
processors look for, with what their publishers' templates put around them.
"""

from collections.abc import Mapping

_QWEN = "<|vision_start|><|image_pad|><|vision_end|>"

PICTURE_WORDS: Mapping[str, str] = {
    "gemma3": "<start_of_image>",
    "gemma4": "<|image|>",
    "idefics3": "<image>",
    "internvl": "<IMG_CONTEXT>",
    "internvl_chat": "<image>",
    "llama4": "<|image|>",
    "llava": "<image>",
    "mistral3": "[IMG]",
    "pixtral": "[IMG]",
    "qwen2_5_vl": _QWEN,
    "qwen2_vl": _QWEN,
    "qwen3_5": _QWEN,
    "qwen3_5_moe": _QWEN,
    "qwen3_vl": _QWEN,
    "qwen3_vl_moe": _QWEN,
    "smolvlm": "<image>",
}
"""By `model_type`."""
