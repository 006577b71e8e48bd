"""What WebODM runs for the OpenScan and Tapis plugins: Django apps and what they share."""

#: The version of the apps, the plugins and the processing node. It stands nowhere else but in the plugins' manifests, which WebODM reads
#: (a test compares them).
__version__ = "0.2.0"
