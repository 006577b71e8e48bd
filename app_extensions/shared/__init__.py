"""Code that both the OpenScan and the Tapis app use: encrypted fields, mail, formatting, retries, settings, photo files."""
