"""Syncs: fetch the images of a flight into its WebODM task. Several workers can share one sync."""
