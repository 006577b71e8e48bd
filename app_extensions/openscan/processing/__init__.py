"""Scans in WebODM: a project per token, a task per scan, the queue, failover between nodes, and the end of a task."""
