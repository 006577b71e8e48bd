"""Tests against a WebODM of their own. A package, so that fixtures of pytest's scope "package" end with the last of them."""
