"""The version, read by the build and by ``mollifier --version``."""

__version__ = "0.1.0"
