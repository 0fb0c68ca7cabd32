"""wire/responses: OpenAI's Responses API, and the Open Responses specification that grew from it.

Lives here: bodies to requests, items to messages, events to items, what a stored response looks like.
Never: I/O. A body that refers to earlier responses is understood in two steps, so that the caller
can fetch them in between: `understood` reads it, `prepared` adds its history.
Enter: api, service.
"""
