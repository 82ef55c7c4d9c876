"""The one kind of error that is meant for the person at the keyboard."""


class UserError(Exception):
    """Wrong input: one line that says what was given, in which file, what is allowed and what to do next.

    The command line prints it without a traceback and exits with status 2.
    """
