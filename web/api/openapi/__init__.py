"""The API's description, as OpenAPI 3.1: `document` puts together what the modules beside it say.

A module for each blueprint has one entry for each route. Tests hold the entries to the routes, and every answer to
its entry.
"""

from web.api.openapi.document import document

__all__ = ["document"]
