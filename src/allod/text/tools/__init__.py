"""How each family of models writes tool calls: one dialect a file, chosen by the chat template."""
