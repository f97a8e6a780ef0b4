"""Errors whose cause is what was given: a network or a module set. Both are ``ValueError``.

Any other ``ValueError`` of this package is a wrong argument of a Python caller, or a fault of the package itself.
"""


class NetworkError(ValueError):
    """A network that cannot be traced, watched, masked or cut. The message names the call and what to write instead."""


class ModuleSetError(ValueError):
    """A module set that is missing, damaged, hostile, lacks a class that was asked for, or whose place is taken."""
