"""What a client does with a scan: create, upload, start, query and reset it."""
