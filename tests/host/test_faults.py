"""What nodes and pyodm say never reaches people as it is: it may hold the node's address and its token."""
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app_extensions.host import faults

LEAK = ("Connection error: HTTPConnectionPool(host='10.0.0.5', port=3000): Max retries exceeded with url: "
        "/task/new/init?token=NODESECRETNODESECRET (Caused by NewConnectionError('refused'))")


@pytest.mark.parametrize("error, says", [
    (LEAK, "it could not be reached any more"),
    ("ENOSPC: no space left on device, write '/var/www/data/x'", "its disk was full"),
    ("The engine was killed, most likely because there was not enough memory. /srv/secret", "ran out of memory"),
    ("Only 3 of 16 photos could be placed: the others do not show", "Only 3 of 16 photos could be placed."),
    ("None of the 16 photos could be placed", "Too few photos could be placed."),
    ("Only 3 of 16 photos could be placed: the background did not move with the object. In 9", "plain dark cloth"),
    ("Not enough overlap in /data/1", "60 % overlap"),
    ("<b>anything</b> else", "stopped with an error"), ("", "stopped with an error"),
])
def test_each_class_of_fault_has_a_sentence_of_ours(error, says):
    assert says in faults.explain(error)


def test_what_we_gave_a_task_ourselves_stays():
    told = faults.given_up(faults.STALLED, 3)
    assert faults.explain(told) == told == "The processing node failed: it made no progress any more. 3 attempts were made."
    assert faults.fault_in(told) is not None
    assert "evil" not in faults.explain("The processing node failed: evil. 3 attempts were made.")


def known_sentences() -> "set[str]":
    errors = ["", "out of memory", "not enough overlap", "background did not move, overlap", "3 of 16 photos could be placed",
              "3 of 16 photos could be placed: the background did not move", "no space left", "uuid not found", "connection refused",
              "no nodes online", "invalid zip file"]
    return {re.sub(r"\d[\d,]*", "N", faults.explain(error)) for error in errors}


@given(st.text(max_size=200), st.sampled_from(["", LEAK, "no space left ", "3 of 16 photos could be placed ", "out of memory ", "overlap"]))
@example("", "The processing node failed: <script>. 3 attempts were made.")
def test_no_error_gets_through(text, kind):
    for error in (kind + text, text + kind):
        assert re.sub(r"\d[\d,]*", "N", faults.explain(error)) in known_sentences()


def test_administrators_see_the_beginning_without_secrets():
    shown = faults.for_admins(LEAK + "\n" + "x" * 10_000)
    assert "10.0.0.5" in shown and "SECRET" not in shown and "\n" not in shown and len(shown) <= 500
