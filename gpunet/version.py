"""The version of gpunet."""

from functools import cache


@cache
def version() -> str:
    """Return the version of the installed package, or 0+unknown in a checkout that was not installed."""
    # Here, because it takes as long to import as a fifth of NumPy.
    from importlib import metadata

    try:
        return metadata.version("gpunet")
    except metadata.PackageNotFoundError:
        return "0+unknown"
