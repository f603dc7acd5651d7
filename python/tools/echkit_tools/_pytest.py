"""The pytest plugin: the fixture ``ech_testbed``.

pytest imports this file in every run of every project; the rest is imported when the fixture is used.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import collections.abc

    from echkit.testing import Testbed


@pytest.fixture(scope="session")
def ech_testbed() -> collections.abc.Iterator[Testbed]:
    """An Encrypted Client Hello internet on loopback: see ``echkit.testing``."""
    from echkit.testing import Testbed

    with Testbed() as testbed:
        yield testbed
