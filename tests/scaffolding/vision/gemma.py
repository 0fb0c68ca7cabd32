"""The Gemma line: a fixed number of embeddings for each picture, sliding windows in the text."""

from tests.scaffolding.vision.parts import HALVES, VOCABULARY, VisionFamily, identifier

MARKS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)

TEMPLATE = """\
{{ bos_token }}{%- set opening = namespace(words='') -%}{%- set turns = messages -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set first = messages[0]['content'] -%}
{%- set opening.words = (first if first is string else first[0]['text']) + '\\n\\n' -%}
{%- set turns = messages[1:] -%}
{%- endif -%}
{%- for message in turns -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<start_of_turn>' + role + '\\n' + (opening.words if loop.first else '') }}
{%- if message['content'] is string -%}
{{ message['content'] | trim }}
{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}
{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""

_IMAGE_MARKS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}

GEMMA3 = VisionFamily(
    config={
        "model_type": "gemma3",
        "hidden_size": 64,
        "vocab_size": VOCABULARY,
        "image_token_index": identifier(MARKS, "<image_soft_token>"),
        "boi_token_index": identifier(MARKS, "<start_of_image>"),
        "eoi_token_index": identifier(MARKS, "<end_of_image>"),
        "pad_token_id": identifier(MARKS, "<pad>"),
        "eos_token_id": [identifier(MARKS, "<eos>"), identifier(MARKS, "<end_of_turn>")],
        "mm_tokens_per_image": 16,
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "intermediate_size": 96,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "vocab_size": VOCABULARY,
            "sliding_window": 24,
            "sliding_window_pattern": 2,
            "mm_tokens_per_image": 16,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": 56 * 2,
        },
    },
    marks=MARKS,
    template=TEMPLATE,
    preprocessor={
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": 112, "width": 112},
        "image_mean": HALVES,
        "image_std": HALVES,
        "image_seq_length": 16,
    },
    processor={"processor_class": "Gemma3Processor", "image_seq_length": 16},
    tokenizer={"pad_token": "<pad>", "extra_special_tokens": _IMAGE_MARKS, **_IMAGE_MARKS},
    end="<eos>",
    opening="<bos>",
    embedding=0.25,
    draw=2,
)

MARKS4 = ("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", "<|image>", "<image|>", "<|image|>", "<|video|>")

TEMPLATE4 = """\
{{ bos_token }}{%- for message in messages -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<|turn>' + role + '\\n' }}
{%- if message['content'] is string -%}
{{ message['content'] | trim }}
{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'image' -%}{{ '\\n\\n<|image|>\\n\\n' }}
{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<turn|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|turn>model\\n' }}{%- endif -%}"""

_IMAGE_MARKS4 = {"boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>"}

_SOFT_TOKENS = 12
"""The most embeddings that a picture gets; the processor sizes every picture to come close to it."""

_TEXT4: dict[str, object] = {
    "model_type": "gemma4_text",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "head_dim": 16,
    "global_head_dim": 32,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "sliding_window": 24,
    "max_position_embeddings": 4096,
    "pad_token_id": identifier(MARKS4, "<pad>"),
    "rope_parameters": {
        "full_attention": {
            "rope_type": "proportional",
            "rope_theta": 1000000.0,
            "partial_rotary_factor": 0.25,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}

_WINDOWED, _WHOLE = "sliding_attention", "full_attention"


def _gemma4(draw: int, text: dict[str, object]) -> VisionFamily:
    return VisionFamily(
        config={
            "model_type": "gemma4",
            "hidden_size": 64,
            "vocab_size": VOCABULARY,
            "image_token_id": identifier(MARKS4, "<|image|>"),
            "video_token_id": identifier(MARKS4, "<|video|>"),
            "boi_token_id": identifier(MARKS4, "<|image>"),
            "eoi_token_id": identifier(MARKS4, "<image|>"),
            "pad_token_id": identifier(MARKS4, "<pad>"),
            "eos_token_id": [identifier(MARKS4, "<eos>"), identifier(MARKS4, "<turn|>")],
            "vision_soft_tokens_per_image": _SOFT_TOKENS,
            "audio_config": None,
            "text_config": {**_TEXT4, **text},
            "vision_config": {
                "model_type": "gemma4_vision",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "global_head_dim": 16,
                "patch_size": 8,
                "pooling_kernel_size": 3,
                "position_embedding_size": 128,
                "default_output_length": _SOFT_TOKENS,
            },
        },
        marks=MARKS4,
        template=TEMPLATE4,
        preprocessor={},
        processor={
            "processor_class": "Gemma4Processor",
            "image_seq_length": _SOFT_TOKENS,
            "image_processor": {
                "image_processor_type": "Gemma4ImageProcessor",
                "patch_size": 8,
                "pooling_kernel_size": 3,
                "max_soft_tokens": _SOFT_TOKENS,
                "do_normalize": False,
            },
            "feature_extractor": {"feature_size": 64},  # of the usual 128 some hear nothing: a warning
        },
        tokenizer={"pad_token": "<pad>", "extra_special_tokens": _IMAGE_MARKS4, **_IMAGE_MARKS4},
        end="<eos>",
        opening="<bos>",
        embedding=0.25,
        draw=draw,
    )


GEMMA4 = _gemma4(
    2,
    {
        "num_hidden_layers": 6,
        "layer_types": [_WINDOWED, _WHOLE, _WINDOWED, _WHOLE, _WINDOWED, _WHOLE],
        "num_kv_shared_layers": 2,
        "num_key_value_heads": 1,
        "hidden_size_per_layer_input": 16,
        "use_double_wide_mlp": True,
    },
)
"""As the small ones: an embedding for each layer, and the last layers read the states of earlier ones."""

GEMMA4_BIDIRECTIONAL = _gemma4(
    3,
    {
        "num_hidden_layers": 4,
        "layer_types": [_WINDOWED, _WHOLE, _WINDOWED, _WHOLE],
        "num_kv_shared_layers": 0,
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "hidden_size_per_layer_input": 0,
        "use_double_wide_mlp": False,
        "use_bidirectional_attention": "vision",
    },
)
"""As the large ones: the tokens of one picture see each other in both directions."""

FAMILIES = {"gemma3": GEMMA3, "gemma4": GEMMA4, "gemma4_bidirectional": GEMMA4_BIDIRECTIONAL}
