"""Stand-ins for services that the tests cannot reach: Tapis, ClusterODM and S3."""
