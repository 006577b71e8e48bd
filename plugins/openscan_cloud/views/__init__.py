"""The plugin's views. Each parses the request, calls one function of `app_extensions.openscan`, and answers."""
