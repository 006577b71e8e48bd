"""Syncs: the images of a flight brought into its WebODM task, in batches that several workers share."""
