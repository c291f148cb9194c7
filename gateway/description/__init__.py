"""The API's own description: OpenAPI 3.1, made from the schemas, and a page to read it.

It says what any gateway of this version does and holds nothing of a configuration. What is in here
is imported and built when it is first asked for, so that no start waits for it.
"""
