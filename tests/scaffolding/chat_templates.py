"""Chat templates that behave like those of real families, each with its own demands on a conversation."""
# ruff: noqa: E501 -- templates look as they do in checkpoints

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# every role by its name; calls one a turn, and the words beside them are dropped
LLAMA3 = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + strftime_now('%d %b %Y') + '\\n\\n' + system + '<|eot_id|>' }}
{%- if tools is not none %}
    {%- if messages | length == 0 %}{{- raise_exception('no first user message to put tools into') }}{% endif %}
    {%- set first = messages[0].content | trim %}{%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) + '\\n\\n' }}{% endfor %}
    {{- first + '<|eot_id|>' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role not in ('tool', 'ipython') and 'tool_calls' not in m %}
        {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in m %}
        {%- if m.tool_calls | length != 1 %}{{- raise_exception('one tool call at once') }}{% endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson + '}<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + m.content | tojson + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
"""

# tools in the system message, system only first, a user's turn is a must, past thinking is dropped
QWEN3 = """
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{% endif %}
    {{- '# Tools\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' + tool | tojson }}{% endfor %}
    {{- '\\n</tools>\\n<tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- if ns.last < 0 %}{{- raise_exception('No user query found in messages.') }}{% endif %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'system' %}
        {%- if not loop.first %}{{- raise_exception('System message must be at the beginning.') }}{% endif %}
    {%- elif m.role == 'user' %}
        {{- '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}
    {%- elif m.role == 'assistant' %}
        {%- set thought = m.reasoning_content if m.reasoning_content is string else '' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content }}
        {%- for call in m.tool_calls or [] %}
            {%- set call = call.function if call.function else call %}
            {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
    {%- else %}{{- raise_exception('Unexpected message role.') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}
"""

# strict alternation, identifiers of nine characters, system and tools with the last user's turn
MISTRAL = """
{%- if messages[0].role == 'system' %}
    {%- set system_message = messages[0].content %}{%- set turns = messages[1:] %}
{%- else %}{%- set turns = messages %}{%- endif %}
{%- set users = turns | selectattr('role', 'equalto', 'user') | list %}
{{- bos_token }}
{%- set ns = namespace(index=0) %}
{%- for m in turns %}
    {%- if not (m.role == 'tool' or (m.tool_calls is defined and m.tool_calls is not none)) %}
        {%- if (m.role == 'user') != (ns.index % 2 == 0) %}
            {{- raise_exception('conversation roles must alternate user/assistant') }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{%- for m in turns %}
    {%- if m.role == 'user' %}
        {%- if tools is not none and m == users[-1] %}
            {{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- '[INST] ' + system_message + '\\n\\n' + m.content + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + m.content + '[/INST]' }}
        {%- endif %}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in m.tool_calls %}
            {%- if call.id is not defined or call.id | length != 9 %}
                {{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
            {%- endif %}
            {{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + (']' + eos_token if loop.last else ', ') }}
        {%- endfor %}
    {%- elif m.role == 'assistant' %}
        {{- ' ' + m.content | trim + eos_token }}
    {%- elif m.role == 'tool' %}
        {%- if m.tool_call_id is not defined or m.tool_call_id | length != 9 %}
            {{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + m.content | string + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('Only user and assistant roles are supported') }}
    {%- endif %}
{%- endfor %}
"""

# no system role, strict alternation, no tools
GEMMA = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{- raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{% endif %}
"""

# developer and system are one head, only the first call of a turn is shown, analysis is dropped once answered
GPT_OSS = """
{{- '<|start|>system<|message|>Reasoning: ' + (reasoning_effort or 'medium') + '<|end|>' }}
{%- if messages[0].role in ('developer', 'system') %}
    {%- set head = messages[0].content %}{%- set turns = messages[1:] %}
{%- else %}{%- set head = '' %}{%- set turns = messages %}{%- endif %}
{%- if head or tools %}
    {{- '<|start|>developer<|message|>' + head }}
    {%- for tool in tools or [] %}
        {%- set tool = tool.function %}
        {{- '// ' + tool.description + '\\ntype ' + tool.name + ' = (_: {' }}
        {%- for name, schema in tool.parameters.properties.items() %}{{- name + ': ' + schema.type + ', ' }}{% endfor %}
        {{- '}) => any;\\n' }}
    {%- endfor %}
    {{- '<|end|>' }}
{%- endif %}
{%- set last_call = namespace(name=none) %}
{%- for m in turns %}
    {%- if m.role == 'assistant' %}
        {%- if 'tool_calls' in m %}
            {%- set later = namespace(found=false) %}
            {%- for other in turns[loop.index:] %}
                {%- if other.role == 'assistant' and 'tool_calls' not in other %}{% set later.found = true %}{% endif %}
            {%- endfor %}
            {%- set call = m.tool_calls[0].function %}
            {%- if m.content and m.thinking %}{{- raise_exception('Cannot pass both content and thinking') }}
            {%- elif (m.content or m.thinking) and not later.found %}
                {{- '<|start|>assistant<|channel|>analysis<|message|>' + (m.content or m.thinking) + '<|end|>' }}
            {%- endif %}
            {{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' }}
            {{- call.arguments | tojson + '<|call|>' }}
            {%- set last_call.name = call.name %}
        {%- elif loop.last and not add_generation_prompt %}
            {%- if 'thinking' in m %}
                {{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}
            {%- endif %}
            {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}
        {%- else %}
            {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}
            {%- set last_call.name = none %}
        {%- endif %}
    {%- elif m.role == 'tool' %}
        {%- if last_call.name is none %}
            {{- raise_exception('Message has tool role, but there was no previous assistant message with a tool call!') }}
        {%- endif %}
        {{- '<|start|>functions.' + last_call.name + ' to=assistant<|channel|>commentary<|message|>' }}
        {{- m.content | tojson + '<|end|>' }}
    {%- elif m.role == 'user' %}
        {{- '<|start|>user<|message|>' + m.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{% endif %}
"""

# all system messages gathered at the head; calls only where the content is null, arguments as text
DEEPSEEK = """
{%- set ns = namespace(system='', after_result=false) %}
{%- for m in messages %}{% if m.role == 'system' %}{% set ns.system = ns.system + m.content + '\\n\\n' %}{% endif %}{% endfor %}
{{- bos_token + ns.system }}
{%- for tool in tools or [] %}{{- '### ' + tool.function.name + '\\n' + tool | tojson + '\\n' }}{% endfor %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<｜User｜>' + m.content }}{% set ns.after_result = false %}
    {%- elif m.role == 'assistant' and m.content is none %}
        {{- '<｜Assistant｜><｜tool▁calls▁begin｜>' }}
        {%- for call in m.tool_calls %}
            {{- '<｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>' + call.function.name + '\\n```json\\n' }}
            {{- call.function.arguments + '\\n```<｜tool▁call▁end｜>' }}
        {%- endfor %}
        {{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}
    {%- elif m.role == 'assistant' %}
        {%- set content = m.content.split('</think>')[-1] %}
        {{- ('' if ns.after_result else '<｜Assistant｜>') + content + '<｜end▁of▁sentence｜>' }}
        {%- set ns.after_result = false %}
    {%- elif m.role == 'tool' %}
        {{- '<｜tool▁output▁begin｜>' + m.content + '<｜tool▁output▁end｜>' }}{% set ns.after_result = true %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt and not ns.after_result %}{{- '<｜Assistant｜>' }}{% endif %}
"""

# three roles, all others dropped without a word
PHI = (
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}"
    "{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)

# lists tools and prints any role, but drops calls
GRANITE = """
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content %}{%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
    {%- set system = 'You are Granite.' %}
    {%- if tools %}{%- set system = system + ' To call tools, respond with <|tool_call|> and a JSON list.' %}{% endif %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + system + '<|end_of_text|>\\n' }}
{%- if tools %}
    {{- '<|start_of_role|>available_tools<|end_of_role|>' + tools | tojson(indent=4) + '<|end_of_text|>\\n' }}
{%- endif %}
{%- for m in turns %}
    {{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' }}
    {%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}
{%- endfor %}
"""

# content in parts, whoever speaks
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ':' }}{% for part in m.content %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

FAMILIES = {
    "ChatML": CHATML, "Llama 3": LLAMA3, "Qwen 3": QWEN3, "Mistral": MISTRAL, "Gemma": GEMMA,
    "gpt-oss": GPT_OSS, "DeepSeek": DEEPSEEK, "Phi": PHI, "Granite": GRANITE, "parts": PARTS,
}  # fmt: skip

# pictures in any turn that is not the system's, results in a user's turn, numbers on demand
QWEN_VL = """
{%- set count = namespace(images=0) %}
{%- macro shown(content, is_system=false) %}
    {%- if content is string %}{{- content }}
    {%- else %}
        {%- for item in content %}
            {%- if 'image' in item or 'image_url' in item or item.type == 'image' %}
                {%- if is_system %}{{- raise_exception('System message cannot contain images.') }}{% endif %}
                {%- set count.images = count.images + 1 %}
                {%- if add_vision_id %}{{- 'Picture ' ~ count.images ~ ': ' }}{% endif %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif 'text' in item %}{{- item.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- if messages[0].role == 'system' or tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- shown(messages[0].content, true) + '\\n\\n' }}{% endif %}
    {%- for tool in tools or [] %}{{- '\\n' + tool | tojson }}{% endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {%- set content = shown(m.content) | trim %}
    {%- if m.role == 'system' %}
        {%- if not loop.first %}{{- raise_exception('System message must be at the beginning.') }}{% endif %}
    {%- elif m.role == 'user' %}{{- '<|im_start|>user\\n' + content + '<|im_end|>\\n' }}
    {%- elif m.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' + content }}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""

# the system's words before the first turn's, of its parts only the first; strict alternation; trims every part
GEMMA3 = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set head = (messages[0].content if messages[0].content is string else messages[0].content[0].text) + '\\n\\n' %}
    {%- set turns = messages[1:] %}
{%- else %}{%- set head = '' %}{%- set turns = messages %}{%- endif %}
{%- for m in turns %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + (head if loop.first else '') }}
    {%- if m.content is string %}{{- m.content | trim }}
    {%- else %}
        {%- for item in m.content %}
            {%- if item.type == 'image' %}{{- '<start_of_image>' }}
            {%- elif item.type == 'text' %}{{- item.text | trim }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{% endif %}
"""

# results inside the turn that called, their words first and their pictures after them
GEMMA4 = """
{%- macro parts(content) %}
    {%- if content is string %}{{- content | trim }}
    {%- else %}
        {%- for item in content %}
            {%- if item.type == 'text' %}{{- item.text | trim }}{% elif item.type == 'image' %}{{- '<|image|>' }}{% endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{{- bos_token }}
{%- set turns = messages %}
{%- if tools or messages[0].role in ('system', 'developer') %}
    {{- '<|turn>system\\n' }}
    {%- if messages[0].role in ('system', 'developer') %}
        {{- messages[0].content | trim if messages[0].content is string else messages[0].content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join }}
        {%- set turns = messages[1:] %}
    {%- endif %}
    {%- for tool in tools or [] %}{{- '<|tool>declaration:' + tool.function.name + tool.function.parameters | tojson + '<tool|>' }}{% endfor %}
    {{- '<turn|>\\n' }}
{%- endif %}
{%- set ns = namespace(after_result=false, stopped=false) %}
{%- for m in turns %}{% if m.role != 'tool' %}
    {%- set outer = loop.index %}
    {%- set ns.after_result = false %}
    {{- '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}
    {%- if m.tool_calls %}
        {%- for call in m.tool_calls %}
            {{- '<|tool_call>call:' + call.function.name + '{' }}
            {%- for key, value in call.function.arguments | dictsort %}{{- key + ':' + value | tojson }}{% endfor %}
            {{- '}<tool_call|>' }}
        {%- endfor %}
        {%- set ns.stopped = false %}
        {%- for result in turns[outer:] %}
            {%- if result.role != 'tool' %}{% set ns.stopped = true %}{% endif %}
            {%- if not ns.stopped %}
                {%- if result.content is string %}{{- '<|tool_response>' + result.content + '<tool_response|>' }}
                {%- else %}
                    {{- '<|tool_response>' + result.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join + '<tool_response|>' }}
                    {%- for part in result.content if part.get('type') == 'image' %}{{- '<|image|>' }}{% endfor %}
                {%- endif %}
                {%- set ns.after_result = true %}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- parts(m.content) }}
    {%- if not ns.after_result %}{{- '<turn|>\\n' }}{% endif %}
{%- endif %}{% endfor %}
{%- if add_generation_prompt and not ns.after_result %}{{- '<|turn>model\\n' }}{% endif %}
"""

# parts alone; no space after the colon where a picture comes first
SMOLVLM = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}"
    "{% if m['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in m['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

# parts alone; a turn's pictures before its words, each with a line of its own
LLAVA = (
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['role'].upper() + ': ' }}{% endif %}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

# of two parts the picture comes first; pictures in a user's turn alone, which may not follow a result; no empty answer
MISTRAL_SMALL = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {{- '[SYSTEM_PROMPT]' + (messages[0].content if messages[0].content is string else messages[0].content[0].text) + '[/SYSTEM_PROMPT]' }}
    {%- set turns = messages[1:] %}
{%- else %}{%- set turns = messages %}{%- endif %}
{%- if tools %}{{- '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}
{%- set ns = namespace(index=0) %}
{%- for m in turns %}
    {%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}
        {%- if (m.role == 'user') != (ns.index % 2 == 0) %}
            {{- raise_exception('conversation roles must alternate user and assistant') }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{%- for m in turns %}
    {%- if m.role == 'user' and m.content is string %}{{- '[INST]' + m.content + '[/INST]' }}
    {%- elif m.role == 'user' %}
        {{- '[INST]' }}
        {%- for block in (m.content | sort(attribute='type') if m.content | length == 2 else m.content) %}
            {%- if block.type == 'text' %}{{- block.text }}{% elif block.type == 'image' %}{{- '[IMG]' }}{% endif %}
        {%- endfor %}
        {{- '[/INST]' }}
    {%- elif m.role == 'assistant' %}
        {%- if not m.content and not m.tool_calls %}{{- raise_exception('Assistant message must have content.') }}{% endif %}
        {{- m.content or '' }}
        {%- for call in m.tool_calls or [] %}{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + call.function.arguments | tojson }}{% endfor %}
        {{- eos_token }}
    {%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS]' + m.content | string + '[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('Only user, assistant and tool roles are supported.') }}
    {%- endif %}
{%- endfor %}
"""

# of a result only the words, as JSON; of the system's parts only the first
LLAMA4 = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = (messages[0].content if messages[0].content is string else messages[0].content[0].text) | trim %}
    {%- set turns = messages[1:] %}
{%- else %}{%- set system = '' %}{%- set turns = messages %}{%- endif %}
{%- if system or tools %}
    {{- '<|header_start|>system<|header_end|>\\n\\n' + system }}
    {%- for tool in tools or [] %}{{- '\\n' + tool | tojson(indent=4) }}{% endfor %}
    {{- '<|eot|>' }}
{%- endif %}
{%- for m in turns %}
    {{- '<|header_start|>' + ('ipython' if m.role == 'tool' else m.role) + '<|header_end|>\\n\\n' }}
    {%- if m.role == 'tool' and m.content is string %}{{- m.content | tojson }}
    {%- elif m.role == 'tool' %}{% for part in m.content if part.type == 'text' %}{{- part.text | tojson }}{% endfor %}
    {%- elif m.content is string %}{{- m.content }}
    {%- else %}
        {%- for part in m.content %}
            {%- if part.type == 'image' %}{{- '<|image|>' }}{% elif part.type == 'text' %}{{- part.text | trim }}{% endif %}
        {%- endfor %}
    {%- endif %}
    {%- for call in m.tool_calls or [] %}{{- '[' + call.function.name + '(' + call.function.arguments | tojson + ')]' }}{% endfor %}
    {{- '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|header_start|>assistant<|header_end|>\\n\\n' }}{% endif %}
"""

# no system message beside pictures
LLAMA32_VISION = """
{{- bos_token }}
{%- set images = namespace(any=false) %}
{%- for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}{% set images.any = true %}{% endif %}{% endfor %}{% endfor %}
{%- if images.any and messages[0].role == 'system' %}
    {{- raise_exception('Prompting with images is incompatible with system messages.') }}
{%- endif %}
{%- for m in messages %}
    {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}
    {%- if m.content is string %}{{- m.content }}
    {%- else %}
        {%- for part in m.content %}
            {%- if part.type == 'image' %}{{- '<|image|>' }}{% elif part.type == 'text' %}{{- part.text }}{% endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
"""

# a line break after each picture
INTERNVL = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# pictures have numbers
ERNIE_VL = (
    "{% set n = namespace(images=0) %}{% for m in messages %}{{ m['role'] + ': ' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}{% set n.images = n.images + 1 %}"
    "{{ 'Picture ' ~ n.images ~ ':<|IMAGE_START|><|image@placeholder|><|IMAGE_END|>' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)

VISION = {
    "Qwen-VL": (QWEN_VL, "<|vision_start|><|image_pad|><|vision_end|>"),
    "Gemma 3": (GEMMA3, "<start_of_image>"),
    "Gemma 4": (GEMMA4, "<|image|>"),
    "SmolVLM": (SMOLVLM, "<image>"),
    "LLaVA": (LLAVA, "<image>"),
    "Mistral Small": (MISTRAL_SMALL, "[IMG]"),
    "Llama 4": (LLAMA4, "<|image|>"),
    "Llama 3.2 Vision": (LLAMA32_VISION, "<|image|>"),
    "InternVL": (INTERNVL, "<IMG_CONTEXT>"),
    "Ernie VL": (ERNIE_VL, "<|IMAGE_START|><|image@placeholder|><|IMAGE_END|>"),
    "parts": (PARTS, "<image>"),
}
"""Templates that show pictures, and what they write for one."""

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
