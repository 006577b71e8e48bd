"""Part files on network file systems."""
import errno
import fcntl
import os

from app_extensions.openscan import part_files


def test_a_file_is_locked_through_a_descriptor_that_nfs_accepts(ground, db, monkeypatch):
    """NFS turns flock into a lock of the whole file, which needs a writable descriptor (flock(2), NFS details)."""
    real = fcntl.flock

    def as_nfs_does(descriptor: int, operation: int) -> None:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", as_nfs_does)
    left = part_files.incoming_dir() / f"1-1-{'0' * 16}.part"
    left.write_bytes(b"x")
    part_files.sweep(min_age_seconds=0)
    assert not left.exists()
