"""A complete processing node: NodeODM's HTTP API (`server`) and the reconstruction engine behind it (`engine`)."""
