"""The OpenAPI 3.1 description of the API.

One module for each group of routes describes every route of the group. Tests check that the described routes are the
application's routes, and validate responses against their descriptions.
"""

from web.api.openapi.document import document

__all__ = ["document"]
