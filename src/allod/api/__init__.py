"""api: the HTTP shell. A route decodes, calls a service, encodes.

Lives here: routes, keys, Host and Origin checks, body limits, keepalives, error bodies.
Never: scheduling, models, templates.
Enter: app (composition); cli for the key file.
"""
