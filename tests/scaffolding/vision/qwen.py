"""The Qwen line: pictures as a grid of patches, positions in three axes."""

from tests.scaffolding.vision.parts import CLIP_DEVIATION, CLIP_MEAN, DECODER, VisionFamily, identifier

MARKS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

IDENTIFIERS: dict[str, object] = {
    "image_token_id": identifier(MARKS, "<|image_pad|>"),
    "video_token_id": identifier(MARKS, "<|video_pad|>"),
    "vision_start_token_id": identifier(MARKS, "<|vision_start|>"),
    "vision_end_token_id": identifier(MARKS, "<|vision_end|>"),
    "eos_token_id": identifier(MARKS, "<|im_end|>"),
}

TEMPLATE = """\
{% set pictures = namespace(value=0) %}{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}\
{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}\
{% set pictures.value = pictures.value + 1 %}\
{% if add_vision_id %}Picture {{ pictures.value }}: {% endif %}\
<|vision_start|><|image_pad|><|vision_end|>\
{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def _preprocessor(processor: str, patch: int) -> dict[str, object]:
    side = 2 * patch
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": processor,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": (2 * side) ** 2,
        "max_pixels": (4 * side) ** 2,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_DEVIATION,
    }


QWEN2_VL = VisionFamily(
    config={
        **DECODER,
        **IDENTIFIERS,
        "model_type": "qwen2_vl",
        "vision_token_id": identifier(MARKS, "<|vision_pad|>"),
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {
            "model_type": "qwen2_vl",
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 64,
            "mlp_ratio": 2,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_patch_size": 14,
        },
    },
    marks=MARKS,
    template=TEMPLATE,
    preprocessor=_preprocessor("Qwen2VLProcessor", 14),
    end="<|im_end|>",
    draw=3,
)

QWEN2_5_VL = VisionFamily(
    config={
        **DECODER,
        **IDENTIFIERS,
        "model_type": "qwen2_5_vl",
        "vision_token_id": identifier(MARKS, "<|vision_pad|>"),
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "out_hidden_size": 64,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
    },
    marks=MARKS,
    template=TEMPLATE,
    preprocessor=_preprocessor("Qwen2_5_VLProcessor", 14),
    end="<|im_end|>",
    draw=2,
)

_TOWER3: dict[str, object] = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 64,
    "num_heads": 2,
    "patch_size": 16,
    "num_position_embeddings": 36,
}

QWEN3_VL = VisionFamily(
    config={
        **IDENTIFIERS,
        "model_type": "qwen3_vl",
        "text_config": {
            **DECODER,
            "model_type": "qwen3_vl_text",
            "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True},
        },
        "vision_config": {**_TOWER3, "model_type": "qwen3_vl", "deepstack_visual_indexes": [0, 1]},
    },
    marks=MARKS,
    template=TEMPLATE,
    preprocessor=_preprocessor("Qwen3VLProcessor", 16),
    end="<|im_end|>",
    draw=3,
)

QWEN3_5 = VisionFamily(
    config={
        **IDENTIFIERS,
        "model_type": "qwen3_5",
        "text_config": {
            **DECODER,
            "model_type": "qwen3_5_text",
            "num_hidden_layers": 4,
            "full_attention_interval": 4,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_conv_kernel_dim": 4,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
        "vision_config": {**_TOWER3, "model_type": "qwen3_5", "deepstack_visual_indexes": []},
    },
    marks=MARKS,
    template=TEMPLATE,
    preprocessor=_preprocessor("Qwen3VLProcessor", 16),
    end="<|im_end|>",
)

FAMILIES = {
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_5_VL,
    "qwen3_vl": QWEN3_VL,
    "qwen3_5": QWEN3_5,
}
