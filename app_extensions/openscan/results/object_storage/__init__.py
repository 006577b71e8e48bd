"""Object storage: results published to an S3-compatible bucket, public sets archived there. Off unless a bucket is named.

`client` talks to the bucket, `upload` sends a file's bytes in parts, `publish` moves results there (and back), `offer` hands them
out, `archive` keeps public sets, `lifecycle` removes what nobody refers to. docs/admin/object-storage.md says how it looks from outside.
"""
