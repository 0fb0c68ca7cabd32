import pytest

from allod.core.errors import ConfigurationError
from allod.text.dialects import ALL, dialect_of, named

# what tells the families' templates apart, in the words of their templates
TEMPLATES = {
    "hermes": r'{{- "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args>}\n</tool_call>" }}',
    "qwen_xml": r"{{- '<tool_call>\n<function=' + name + '>\n' }}{{- '<parameter=' + args_name + '>\n' }}",
    "llama_json": """{{- "<|start_header_id|>" }}{{- '{"name": "' + name + '", ' }}{{- '"parameters": ' }}""",
    "pythonic": "<|header_start|>system<|header_end|> [func_name1(params_name1=params_value1), func_name2()]",
    "mistral": "{{- '[TOOL_CALLS]' + tool['function']['name'] + '[ARGS]' + arguments }}",
    "harmony": "<|start|>assistant<|channel|>analysis<|message|>",
    "glm": r"{{ '\n<tool_call>' + tc.name }}<arg_key>{{ k }}</arg_key><arg_value>{{ v }}</arg_value>",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_tells_its_dialect(name: str) -> None:
    """Of the dialects whose marks a template holds, it speaks the most particular one."""
    assert dialect_of(TEMPLATES[name], takes_tools=True).name == name


def test_a_template_without_tools_gets_the_generic_dialect() -> None:
    """Where the house writes the tools, it reads what it asks for, whatever else the template holds."""
    assert dialect_of(TEMPLATES["mistral"], takes_tools=False).name == "hermes"


def test_a_template_that_tells_nothing_gets_the_generic_dialect() -> None:
    """No marks at all are no marks of any other dialect."""
    assert dialect_of("{{ messages }}", takes_tools=True).name == "hermes"


def test_names_find_their_dialects() -> None:
    """Every dialect has a name of its own."""
    assert [named(dialect.name) for dialect in ALL] == list(ALL)


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    """The message names the value and the way out."""
    with pytest.raises(ConfigurationError, match=r"'morse'.*hermes"):
        named("morse")
