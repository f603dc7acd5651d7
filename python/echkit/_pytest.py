"""The pytest plugin: the fixture ``ech_testbed``."""

from __future__ import annotations

import typing

import pytest

from . import testing


@pytest.fixture(scope="session")
def ech_testbed() -> typing.Iterator[testing.Testbed]:
    """An Encrypted Client Hello internet on loopback: see ``echkit.testing``."""
    with testing.Testbed() as testbed:
        yield testbed
