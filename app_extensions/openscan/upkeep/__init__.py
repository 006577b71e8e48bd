"""Periodic jobs, tidying up, metrics, health, and system checks."""
