"""Sizes that the quality options stand for, in pixels of the longer side."""

# Prepared photos, from which texture is taken.
WORK_SIZE = {"ultra": 8000, "high": 5000, "medium": 4000, "low": 3000, "lowest": 2000}
# Photos in which depth is searched, where only the object's part of them is.
DEPTH_SIZE = {"ultra": 3000, "high": 2000, "medium": 1000, "low": 700, "lowest": 400}
# Photos in which features are searched.
FEATURE_SIZE = {"ultra": 3200, "high": 1600, "medium": 1200, "low": 900, "lowest": 640}
# Points of the dense cloud at most: more adds nothing to a surface of at most a few million triangles.
MOST_POINTS = 12_000_000
