"""MiniMax M2: `<minimax:tool_call>` around `<invoke name="f">` with `<parameter name="k">v</parameter>`."""

from allod.text.markup import Dialect
from allod.text.tools.invoked import Invoked, invoked_parser, invoked_rules

_FORM = Invoked(block="<minimax:tool_call>", block_end="</minimax:tool_call>")

DIALECT = Dialect(
    name="minimax",
    marks=(_FORM.block, _FORM.block_end),
    fingerprints=((_FORM.block, _FORM.invoke),),
    parser=invoked_parser(_FORM),
    grammar=invoked_rules(_FORM),
    trigger=_FORM.block,
)
