"""What a client does with a scan: create, upload, start, ask and reset."""
