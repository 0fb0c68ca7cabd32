"""Families that write a picture's rows into the text: Pixtral, Mistral 3 and Llama 4."""

from tests.scaffolding.vision.parts import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    DECODER,
    HALVES,
    VOCABULARY,
    VisionFamily,
    identifier,
)

MISTRAL_MARKS = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[IMG]",
    "[IMG_BREAK]",
    "[IMG_END]",
    "<pad>",
)

_USER = (
    "{%- if message['content'] is string %}{{- message['content'] }}"
    "{%- else %}{%- for block in message['content'] %}"
    "{%- if block['type'] == 'text' %}{{- block['text'] }}"
    "{%- elif block['type'] in ['image', 'image_url'] %}{{- '[IMG]' }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
)

PIXTRAL_TEMPLATE = (
    "{%- set system = '' %}{%- set turns = messages %}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set system = messages[0]['content'] + '\n\n' %}{%- set turns = messages[1:] %}{%- endif %}"
    "{{- bos_token }}{%- for message in turns %}"
    "{%- if message['role'] == 'user' %}{{- '[INST]' + (system if loop.last else '') }}"
    + _USER
    + "{{- '[/INST]' }}{%- else %}{{- message['content'] + eos_token }}{%- endif %}{%- endfor %}"
)

MISTRAL3_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{{- '[SYSTEM_PROMPT]' }}"
    + _USER
    + "{{- '[/SYSTEM_PROMPT]' }}"
    + "{%- elif message['role'] == 'user' %}{{- '[INST]' }}"
    + _USER
    + "{{- '[/INST]' }}{%- else %}{{- message['content'] + eos_token }}{%- endif %}{%- endfor %}"
)

_SIDE = 112

_PIXTRAL_TOWER: dict[str, object] = {
    "model_type": "pixtral",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "head_dim": 16,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "image_size": _SIDE,
    "patch_size": 14,
    "rope_theta": 10000.0,
}

_PIXTRAL_PICTURES: dict[str, object] = {
    "image_processor_type": "PixtralImageProcessor",
    "processor_class": "PixtralProcessor",
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "size": {"longest_edge": _SIDE},
    "patch_size": {"height": 14, "width": 14},
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_DEVIATION,
}

_PIXTRAL_PROCESSOR: dict[str, object] = {
    "processor_class": "PixtralProcessor",
    "patch_size": 14,
    "image_token": "[IMG]",
    "image_break_token": "[IMG_BREAK]",
    "image_end_token": "[IMG_END]",
}

PIXTRAL = VisionFamily(
    config={
        "model_type": "pixtral",
        "vocab_size": VOCABULARY,
        "image_token_index": identifier(MISTRAL_MARKS, "[IMG]"),
        "eos_token_id": identifier(MISTRAL_MARKS, "</s>"),
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "text_config": {**DECODER, "model_type": "mistral"},
        "vision_config": _PIXTRAL_TOWER,
    },
    marks=MISTRAL_MARKS,
    template=PIXTRAL_TEMPLATE,
    preprocessor=_PIXTRAL_PICTURES,
    processor=_PIXTRAL_PROCESSOR,
    tokenizer={"pad_token": "<pad>", "unk_token": "<unk>"},
    end="</s>",
    opening="<s>",
    draw=2,
)


def _mistral3(text: dict[str, object]) -> VisionFamily:
    return VisionFamily(
        config={
            "model_type": "mistral3",
            "vocab_size": VOCABULARY,
            "image_token_index": identifier(MISTRAL_MARKS, "[IMG]"),
            "eos_token_id": identifier(MISTRAL_MARKS, "</s>"),
            "vision_feature_layer": -1,
            "spatial_merge_size": 2,
            "text_config": {**DECODER, **text},
            "vision_config": _PIXTRAL_TOWER,
        },
        marks=MISTRAL_MARKS,
        template=MISTRAL3_TEMPLATE,
        preprocessor=_PIXTRAL_PICTURES,
        processor={**_PIXTRAL_PROCESSOR, "spatial_merge_size": 2},
        tokenizer={"pad_token": "<pad>", "unk_token": "<unk>"},
        end="</s>",
        opening="<s>",
    )


MISTRAL3 = _mistral3({"model_type": "mistral"})

MINISTRAL3 = _mistral3(
    {
        "model_type": "ministral3",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1000000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 4096,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        },
    }
)
"""The same tower before the decoder of the smaller and newer ones."""

LLAMA4_MARKS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eot|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<|image|>",
    "<|patch|>",
    "<|finetune_right_pad|>",
)

LLAMA4_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|header_start|>' + message['role'] + '<|header_end|>\n\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}"
    "{%- else %}{%- for content in message['content'] %}"
    "{%- if content['type'] == 'image' %}{{- '<|image|>' }}"
    "{%- elif content['type'] == 'text' %}{{- content['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}{{- '<|eot|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}"
)

LLAMA4 = VisionFamily(
    config={
        "model_type": "llama4",
        "image_token_index": identifier(LLAMA4_MARKS, "<|patch|>"),
        "eos_token_id": [identifier(LLAMA4_MARKS, "<|end_of_text|>"), identifier(LLAMA4_MARKS, "<|eot|>")],
        "text_config": {
            **DECODER,
            "model_type": "llama4_text",
            "num_hidden_layers": 4,
            "intermediate_size": 48,
            "intermediate_size_mlp": 96,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 2048,
        },
        "vision_config": {
            "model_type": "llama4_vision_model",
            "hidden_size": 32,
            "image_size": 56,
            "initializer_range": 0.02,
            "intermediate_size": 128,
            "norm_eps": 1e-5,
            "num_attention_heads": 2,
            "num_channels": 3,
            "num_hidden_layers": 2,
            "patch_size": 14,
            "pixel_shuffle_ratio": 0.5,
            "projector_dropout": 0.0,
            "projector_input_dim": 64,
            "projector_output_dim": 64,
            "rope_theta": 10000.0,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "vision_output_dim": 64,
        },
    },
    marks=LLAMA4_MARKS,
    template=LLAMA4_TEMPLATE,
    preprocessor={
        "image_processor_type": "Llama4ImageProcessor",
        "processor_class": "Llama4Processor",
        "size": {"height": 56, "width": 56},
        "max_patches": 1,
        "image_mean": HALVES,
        "image_std": HALVES,
    },
    tokenizer={"pad_token": "<|finetune_right_pad|>"},
    end="<|eot|>",
    opening="<|begin_of_text|>",
    embedding=0.3,
)
"""One tile for each picture: of several, mlx-vlm makes fewer embeddings than the text has places for."""

FAMILIES = {"pixtral": PIXTRAL, "mistral3": MISTRAL3, "ministral3": MINISTRAL3, "llama4": LLAMA4}
