"""The Tapis plugin's views. Each parses the request, calls one function and answers."""
