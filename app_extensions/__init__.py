"""What WebODM runs for the OpenScan and Tapis plugins: Django apps and what they share."""
