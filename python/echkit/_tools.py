"""The package ``echkit-tools``, which has what connections do not need: the command and the testbed."""

from __future__ import annotations

from ._echkit import __version__


def require_tools(what: str, extra: str) -> None:
    """Raise ``ImportError`` unless ``echkit-tools`` is installed, in this package's version."""
    try:
        from echkit_tools import _echkit_tools
    except ModuleNotFoundError as missing:
        if missing.name != "echkit_tools":
            raise
        raise ModuleNotFoundError(
            f"{what} is in the package echkit-tools, which is not installed; "
            f"run: pip install 'echkit[{extra}]'",
            name=missing.name,
        ) from None
    found = _echkit_tools.__version__
    if found != __version__:
        raise ImportError(
            f"{what}: echkit-tools {found} does not match echkit {__version__}; "
            f"run: pip install 'echkit[{extra}]=={__version__}'",
            name="echkit_tools",
        )
