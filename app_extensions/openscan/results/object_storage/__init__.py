"""Object storage: publishes results to an S3-compatible bucket and archives public sets there. Off unless a bucket is set.

`client` talks to the bucket, `upload` sends a file's bytes in parts, `publish` moves results there (and back), `offer` makes download
links, `archive` keeps public sets, `lifecycle` removes what nothing refers to. docs/admin/object-storage.md describes it for admins.
"""
