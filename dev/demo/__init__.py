"""The demonstrations of `./webodm.sh demo`: real clients against a running sandbox, from the first request to the result."""
