"""Tapis logins: OAuth2, verified identities, and tokens that are refreshed when needed."""
