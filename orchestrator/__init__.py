"""The orchestrator: every side effect around ``moda_core``. Ray, tables, tracking, files, report, command line."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("moda-orchestrator")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
