"""Parts read in place as one file."""
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_extensions.openscan.ingest.parts import OPEN_FILES, JoinedParts, Slice
from tests.openscan.make_sets import lay_out


@given(
    pieces=st.lists(st.binary(max_size=40), min_size=1, max_size=12),
    moves=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 300), st.integers(-1, 120)), max_size=20),
)
def test_reads_like_the_joined_file(tmp_path_factory, pieces, moves):
    import io

    whole = io.BytesIO(b"".join(pieces))
    with JoinedParts(lay_out(tmp_path_factory.mktemp("parts"), pieces)) as joined:
        assert joined.size_bytes == len(whole.getvalue())
        for whence, offset, size in moves:
            offset = -min(offset, joined.size_bytes) if whence == os.SEEK_END else offset
            assert joined.seek(offset, whence) == whole.seek(offset, whence)
            assert joined.read(size) == whole.read(size)
            assert joined.tell() == whole.tell()


def test_keeps_few_files_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with JoinedParts(lay_out(tmp_path, [bytes([n]) for n in range(200)])) as joined:
        assert joined.read() == bytes(range(200))
        assert len(os.listdir("/proc/self/fd")) - before <= OPEN_FILES + 1
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_part_that_shrinks_while_it_is_read_is_an_error_not_an_end(tmp_path):
    paths = lay_out(tmp_path, [b"abcd", b"efgh"])
    with JoinedParts(paths) as joined:
        paths[1].write_bytes(b"e")
        with pytest.raises(OSError, match="shorter"):
            joined.read()


def test_a_slice_is_a_file_of_its_own(tmp_path):
    with JoinedParts(lay_out(tmp_path, [b"0123", b"4567", b"89"])) as joined:
        part = Slice(joined, 2, 5)
        assert part.read() == b"23456"
        assert part.seek(-2, os.SEEK_END) == 3
        assert part.read(10) == b"56" and part.read() == b""
        with pytest.raises(OSError):
            part.seek(-9, os.SEEK_CUR)
