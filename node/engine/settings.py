"""The photo sizes of the quality options: pixels of the longer side."""

# Prepared photos, from which texture is taken.
WORK_SIZE = {"ultra": 8000, "high": 5000, "medium": 4000, "low": 3000, "lowest": 2000}
# Photos in which depth is searched, if only the object's part of them is searched.
DEPTH_SIZE = {"ultra": 3000, "high": 2000, "medium": 1000, "low": 700, "lowest": 400}
# Photos in which features are searched.
FEATURE_SIZE = {"ultra": 3200, "high": 1600, "medium": 1200, "low": 900, "lowest": 640}
# Maximum number of points in the dense cloud. More would add nothing to a surface of a few million triangles.
MOST_POINTS = 12_000_000
