"""The codec over HTTP: a service for programs, and what the page in the browser asks of it.

``server`` runs ``app``, whose routes are in ``public`` and ``page_routes``. Requests become jobs of a ``pool`` of
processes; ``worker`` is what runs there, ``coding`` and ``measuring`` what it can do. docs/serve.md is for users.
"""
