"""The finished model: packing, download links, expiry, object storage, and the research archive."""
