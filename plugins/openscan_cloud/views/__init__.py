"""The plugin's HTTP side: it parses, calls one rule of `app_extensions.openscan`, and answers."""
