"""Errors a person can mend. Anything else that is raised is a bug and keeps its traceback.

Standard library only: every package of the project may import this module.
"""

from __future__ import annotations


class CodesignError(Exception):
    """Something a person can mend.

    Args:
        what: what was found and what is allowed, with the values.
        where: the file, line or setting it was found in.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        located = f"{self.where}: {self.what}" if self.where else self.what
        return f"{located}\n  hint: {self.hint}" if self.hint else located


class SpecError(CodesignError):
    """The spec file is wrong; the message lists every mistake, one a line."""

    exit_code = 2


class DataError(CodesignError):
    """The data set cannot be found, read or trusted."""

    exit_code = 3


class InfeasibleError(CodesignError):
    """No design of the space fits the budgets."""

    exit_code = 4


class StudyError(CodesignError):
    """The study folder is in use, broken, or belongs to another spec."""

    exit_code = 5


class LaunchError(CodesignError):
    """Workers could not be started, or trials keep failing with a bug."""

    exit_code = 6


class MissingPackageError(CodesignError):
    """A package that the user asked for (by a setting) is not installed or does not load."""

    exit_code = 7


class ConfigError(CodesignError, ValueError):
    """Settings that cannot be, alone or together."""

    exit_code = 2
