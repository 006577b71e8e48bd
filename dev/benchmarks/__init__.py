"""Measurements of the things that were promised in figures: ratios between two ways of doing one thing, taken in one run.

`./webodm.sh bench TOPIC` runs `dev/benchmarks/TOPIC.py`.
"""
