"""A processing node of its own: NodeODM's HTTP API (`server`) and the reconstruction engine behind it (`engine`)."""
