"""Errors as the person at the keyboard reads them: the one kind that is meant for them, and any other on one line."""


class UserError(Exception):
    """Wrong input: one line that says what was given, in which file, what is allowed and what to do next.

    The command line prints it without a traceback and exits with status 2.
    """


def one_line(error: Exception) -> str:
    """The first cause of an error on one line; MONAI wraps it into 'applying transform ...'."""
    while error.__cause__ is not None and not isinstance(error, UserError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
