"""Fixtures of the OpenScan tests."""
import pytest

from tests.openscan.helpers import Rig, private_token, public_token


@pytest.fixture
def rig(stack, live_db) -> Rig:
    """A rig with a private token of its own, asking the live server."""
    return Rig(stack.address(), private_token(10**12)[1])


@pytest.fixture
def public_rigs(stack, live_db) -> tuple:
    """Two rigs behind different addresses that share a public token of their own."""
    text = public_token(10**12)[1]
    return Rig(stack.address(), text, address="198.51.100.7"), Rig(stack.address(), text, address="198.51.100.8")
