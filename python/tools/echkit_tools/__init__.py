"""The command ``ech``, and the testbed behind ``echkit.testing``; part of the package ``echkit``.

Installed by ``echkit[cli]`` and ``echkit[testing]``. Nothing here is an interface: use the command,
``echkit.testing`` or the pytest fixture ``ech_testbed``.
"""
