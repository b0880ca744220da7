"""The version of gpunet: that of the installed package, or 0+unknown in a checkout that was not installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("gpunet")
except PackageNotFoundError:
    __version__ = "0+unknown"
