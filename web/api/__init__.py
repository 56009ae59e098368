"""The JSON API: one blueprint for each resource, and its OpenAPI description."""
