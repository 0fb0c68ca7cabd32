"""Which dialect a chat template speaks, by the lines in which templates of each family write calls."""

import itertools

import pytest

from allod.text.dialects import dialect_of
from allod.text.tools import deepseek, gemma, glm, granite, kimi, minimax, minimax_m3, phi

TEMPLATES = {
    "glm 4.6": """For each function call, output the function name and arguments within the following XML
        format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>
        {{ '\\n<tool_call>' + tc.name }}{% for k, v in _args.items() %}<arg_key>{{ k }}</arg_key>\n<arg_value>
        {{ v | tojson if v is not string else v }}</arg_value>{% endfor %}</tool_call>""",
    "glm 4.7": """{{- '<tool_call>' ~ tc.name -}}{% set _args = tc['arguments'] %}
        {% for k, v in _args.items() %}
        <arg_key>{{ k }}</arg_key><arg_value>{{ v }}</arg_value>{% endfor %}</tool_call>""",
    "deepseek v3": """{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>'
        + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```'
        + '<｜tool▁call▁end｜>'}}""",
    "deepseek v3.1": """{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'+ tool['function']['name']
        + '<｜tool▁sep｜>' + tool['function']['arguments'] + '<｜tool▁call▁end｜>'}}""",
    "deepseek v3.2": """{%- set dsml_token = "｜DSML｜" -%}{%- if message.get('tool_calls') -%}
        <{{ dsml_token }}function_calls><{{ dsml_token }}invoke name="$FUNCTION_NAME">""",
    "deepseek v4": """{%- set dsml_token = "｜DSML｜" -%}{%- if message.get('tool_calls') -%}
        <{{ dsml_token }}tool_calls><{{ dsml_token }}invoke name="$TOOL_NAME">""",
    "kimi k2": "{{ '<|im_system|>tool_declare<|im_middle|>' -}}{{- tools | tojson -}}",
    "kimi k2 thinking": """<|tool_calls_section_begin|><|tool_call_begin|>{{ formatted_id }}
        <|tool_call_argument_begin|>{{ tool_call['function']['arguments'] | tojson }}<|tool_call_end|>""",
    "minimax m2": """{%- set toolcall_begin_token = '<minimax:tool_call>' -%}
        {{- '<invoke name="' + tool_call.name + '">\\n' }}{{- '<parameter name="' + k + '">' }}""",
    "minimax m3": """{%- set ns_token = ']<]minimax[>[' -%}
        {%- set toolcall_begin_token = ns_token ~ '<tool_call>' -%}
        {{- ns_token ~ '<invoke name="' + tool_call.name + '">' }}{%- if tool_call['arguments'] %}""",
    "gemma 4": """{{- '<|tool_call>call:' + function['name'] + '{' -}}{{- function['arguments'] -}}
        {{- '}<tool_call|>' -}}{{- '<|"|>' + argument + '<|"|>' -}}""",
    "functiongemma": """{{- '<start_function_call>call:' + function['name'] + '{' -}}
        {{ '<escape>' + argument + '<escape>' }}{{- function['arguments'] -}}
        {{- '}<end_function_call>' -}}""",
    "granite 3.0": """{{- '<|start_of_role|>available_tools<|end_of_role|>\\n' }}
        {{- '<|start_of_role|>assistant<|end_of_role|><|tool_call|>'
        + message['content'] + '<|end_of_text|>\\n' }}""",
    "granite 3.3": """{%- set system_message = system_message + " When a tool is required to answer the user's
        query, respond only with <|tool_call|> followed by a JSON list of tools used." %}
        {{- '<|start_of_role|>available_tools<|end_of_role|>' }}""",
    "granite 4.0": """{%- set tools_system_message_suffix = '\\n</tools>\\n\\nFor each tool call, return
        a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>
        {\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>.' %}
        {{- '<|start_of_role|>' }}{{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}
        {{- '", "arguments": ' }}""",
    "phi 4 mini": """{% if message['role'] == 'system' and 'tools' in message %}{{ '<|'
        + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>'
        + '<|end|>' }}{% endif %}""",
    "phi 4 mini, mended": """respond in this format:
        <|tool_call|>{"name": "foo", "arguments": {"a": 1}}<|/tool_call|>
        {{- '<|tool|>' + (tool['function'] | tojson) + '<|/tool|>' -}}""",
}
SPEAKS = {
    "glm 4.6": glm.DIALECT.name,
    "glm 4.7": glm.DIALECT.name,
    "deepseek v3": deepseek.FENCED.name,
    "deepseek v3.1": deepseek.DIALECT.name,
    "deepseek v3.2": deepseek.DSML.name,
    "deepseek v4": deepseek.DSML_V4.name,
    "kimi k2": kimi.DIALECT.name,
    "kimi k2 thinking": kimi.DIALECT.name,
    "minimax m2": minimax.DIALECT.name,
    "minimax m3": minimax_m3.DIALECT.name,
    "gemma 4": gemma.DIALECT.name,
    "functiongemma": gemma.FUNCTION.name,
    "granite 3.0": granite.DIALECT.name,
    "granite 3.3": granite.DIALECT.name,
    "granite 4.0": "hermes",
    "phi 4 mini": phi.DIALECT.name,
    "phi 4 mini, mended": phi.DIALECT.name,
}
OWN = (
    *(glm.DIALECT, deepseek.FENCED, deepseek.DIALECT, deepseek.DSML, deepseek.DSML_V4, kimi.DIALECT),
    *(minimax.DIALECT, minimax_m3.DIALECT, gemma.DIALECT, gemma.FUNCTION, granite.DIALECT, phi.DIALECT),
)


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_template_speaks_its_familys_dialect(family: str) -> None:
    """Of all dialects, the one chosen for each family's template is the family's."""
    assert dialect_of(TEMPLATES[family], takes_tools=True).name == SPEAKS[family]


def test_fingerprints_are_of_one_family() -> None:
    """A fingerprint is found in no template of another family, but for forms of one family's versions."""
    for family, dialect in itertools.product(TEMPLATES, OWN):
        if any(all(mark in TEMPLATES[family] for mark in marks) for marks in dialect.fingerprints):
            assert dialect.name.partition("-")[0] == SPEAKS[family].partition("-")[0]
