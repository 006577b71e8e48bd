"""Masking of text that an attacker chose: linear on any text, and no secret slips through."""
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app_extensions.host.logs import MASK, mask

SIZE = 200_000
#: Masking this much takes a fraction of a CPU second; a quadratic pattern takes minutes.
CPU_SECONDS = 30

#: Beginnings and middles of everything that the patterns look for.
FRAGMENTS = ["a.", "/a.a", "a-", "eyJ", "-eyJaaaaaaaa", "eyJaaaaaaaa.", "authorization", "authorization:", "bearer ", "Basic", "jwt ", " ",
             "\t", "\n", '"', "'", ":", "=", "token", "token=", '"token"', '"token": ', "code=", "&", "://", "a://", "a://b:", "@",
             "x-tapis-token", "/api/openscan/u/", "/api/openscan/u/1", "123456789", "x", "+", "/", "%", "é"]


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Interrupts what takes this process more CPU time (not wall time: the machine may be busy)."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"not finished after {seconds} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@given(start=st.lists(st.sampled_from(FRAGMENTS), max_size=3), repeated=st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4),
       end=st.sampled_from(["", "!", "@", "\n", '"']))
@example([], ["/a.a"], "")
@example(["authorization", ":"], [" "], "!")
@example([], ["-eyJaaaaaaaa"], "")
@example(["a://b:"], ["@"], " ")
def test_any_text_is_masked_in_linear_time(start, repeated, end):
    unit = "".join(repeated)
    text = "".join(start) + unit * (SIZE // len(unit)) + end
    with cpu_limit(CPU_SECONDS):
        mask(text)


@given(before=st.text(st.sampled_from(" \n/?&;,.:-@\"'=ab"), max_size=40), after=st.text(st.sampled_from(" \n&;,\"'"), max_size=20))
def test_no_text_around_it_hides_a_secret(before, after):
    assert "SECRETSECRET" not in mask(f"{before} GET /x?token=SECRETSECRET {after}")
    assert "SECRETSECRET" not in mask(f"{before} Authorization: Bearer SECRETSECRETSECRET {after}")
    assert "SECRETSECRET" not in mask(f"{before} https://user:SECRET@SECRETSECRET@example.org/ {after}")


@pytest.mark.parametrize("text, masked", [
    ("Authorization: Bearer abcdefgh", f"Authorization: Bearer {MASK}"),
    ("authorization='Basic YTpi'", f"authorization='Basic {MASK}'"),
    ("cut off: eyJhbGciOiJIUzI1NiJ9.eyJz", f"cut off: {MASK}"),
    ("-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln!", f"-{MASK}!"),
    ("redis://:pass@word@127.0.0.1:6379/0", f"redis://:{MASK}@127.0.0.1:6379/0"),
])
def test_what_is_masked_and_what_stays(text, masked):
    assert mask(text) == masked
