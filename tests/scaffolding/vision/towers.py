"""Families of a plain vision tower before a plain decoder: LLaVA, Idefics and InternVL."""

from tests.scaffolding.vision.parts import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    DECODER,
    HALVES,
    VOCABULARY,
    VisionFamily,
    identifier,
)

LLAVA_MARKS = ("<unk>", "<s>", "</s>", "<image>", "<pad>")

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

LLAVA = VisionFamily(
    config={
        "model_type": "llava",
        "vocab_size": VOCABULARY,
        "image_token_index": identifier(LLAVA_MARKS, "<image>"),
        "eos_token_id": identifier(LLAVA_MARKS, "</s>"),
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "text_config": {**DECODER, "model_type": "llama"},
        "vision_config": {
            "model_type": "clip_vision_model",
            "num_hidden_layers": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
    },
    marks=LLAVA_MARKS,
    template=LLAVA_TEMPLATE,
    preprocessor={
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "size": {"shortest_edge": 56},
        "crop_size": {"height": 56, "width": 56},
        "do_center_crop": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_DEVIATION,
        "resample": 3,
    },
    processor={
        "processor_class": "LlavaProcessor",
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": 14,
        "vision_feature_select_strategy": "default",
    },
    tokenizer={"pad_token": "<pad>", "unk_token": "<unk>"},
    end="</s>",
    opening="<s>",
    draw=1,
)

ROWS = 4
"""How many tiles a picture's longer side may have at most; each tile is named by a mark."""

IDEFICS3_MARKS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, ROWS + 1) for column in range(1, ROWS + 1)),
)

IDEFICS3_TEMPLATE = (
    "<|begin_of_text|>{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

_SIGLIP: dict[str, object] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


def _tiled(kind: str, pictures: str) -> dict[str, object]:
    return {
        "image_processor_type": f"{kind}ImageProcessor",
        "processor_class": f"{kind}Processor",
        "do_resize": True,
        "do_image_splitting": True,
        "do_pad": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"longest_edge": 112},
        pictures: {"longest_edge": 56},
        "image_mean": HALVES,
        "image_std": HALVES,
    }


IDEFICS3 = VisionFamily(
    config={
        "model_type": "idefics3",
        "vocab_size": VOCABULARY,
        "scale_factor": 2,
        "image_token_id": identifier(IDEFICS3_MARKS, "<image>"),
        "eos_token_id": identifier(IDEFICS3_MARKS, "<end_of_utterance>"),
        "text_config": {**DECODER, "model_type": "llama"},
        "vision_config": {**_SIGLIP, "model_type": "idefics3"},
    },
    marks=IDEFICS3_MARKS,
    template=IDEFICS3_TEMPLATE,
    preprocessor=_tiled("Idefics3", "max_image_size"),
    processor={"processor_class": "Idefics3Processor", "image_seq_len": 4},
    tokenizer={"pad_token": "<|end_of_text|>"},
    end="<end_of_utterance>",
    opening="<|begin_of_text|>",
    draw=1,
)

SMOLVLM_MARKS = ("<|im_start|>", "<|im_end|>", *IDEFICS3_MARKS[2:])

SMOLVLM = VisionFamily(
    config={
        "model_type": "smolvlm",
        "vocab_size": VOCABULARY,
        "scale_factor": 2,
        "image_token_id": identifier(SMOLVLM_MARKS, "<image>"),
        "eos_token_id": identifier(SMOLVLM_MARKS, "<end_of_utterance>"),
        "text_config": {**DECODER, "model_type": "llama"},
        "vision_config": {**_SIGLIP, "model_type": "smolvlm_vision"},
    },
    marks=SMOLVLM_MARKS,
    template=IDEFICS3_TEMPLATE.replace("<|begin_of_text|>", "<|im_start|>"),
    preprocessor=_tiled("SmolVLM", "max_image_size"),
    processor={"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
    tokenizer={"pad_token": "<|im_end|>"},
    end="<end_of_utterance>",
    draw=2,
)

INTERNVL_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")

INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ 'PLACE\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_INTERNVL_TILES: dict[str, object] = {
    "downsample_ratio": 0.5,
    "min_dynamic_patch": 1,
    "max_dynamic_patch": 4,
    "use_thumbnail": True,
}

INTERNVL_CHAT = VisionFamily(
    config={
        **_INTERNVL_TILES,
        "model_type": "internvl_chat",
        "vocab_size": VOCABULARY,
        "image_token_index": identifier(INTERNVL_MARKS, "<IMG_CONTEXT>"),
        "eos_token_id": identifier(INTERNVL_MARKS, "<|im_end|>"),
        "force_image_size": 56,
        "llm_config": {**DECODER, "model_type": "qwen2", "attention_bias": True},
        "vision_config": {**_SIGLIP, "model_type": "intern_vit_6b"},
    },
    marks=INTERNVL_MARKS,
    template=INTERNVL_TEMPLATE.replace("PLACE", "<image>"),
    preprocessor={"image_size": 56, "crop_size": 56, "do_center_crop": True, "do_resize": True},
    tokenizer={"pad_token": "<|endoftext|>"},
    end="<|im_end|>",
    draw=1,
)

INTERNVL = VisionFamily(
    config={
        **_INTERNVL_TILES,
        "model_type": "internvl",
        "image_token_id": identifier(INTERNVL_MARKS, "<IMG_CONTEXT>"),
        "eos_token_id": identifier(INTERNVL_MARKS, "<|im_end|>"),
        "text_config": {**DECODER, "model_type": "qwen3"},
        "vision_config": {**_SIGLIP, "model_type": "internvl_vision", "layer_scale_init_value": 1.0},
    },
    marks=INTERNVL_MARKS,
    template=INTERNVL_TEMPLATE.replace("PLACE", "<IMG_CONTEXT>"),
    preprocessor={"image_processor_type": "GotOcr2ImageProcessor", "size": {"height": 56, "width": 56}},
    processor={"processor_class": "InternVLProcessor", "image_seq_length": 4},
    tokenizer={"pad_token": "<|endoftext|>"},
    end="<|im_end|>",
    embedding=0.5,
    draw=3,
)

FAMILIES = {
    "llava": LLAVA,
    "idefics3": IDEFICS3,
    "smolvlm": SMOLVLM,
    "internvl_chat": INTERNVL_CHAT,
    "internvl": INTERNVL,
}
