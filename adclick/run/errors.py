"""The one exception that a user's mistake becomes: a line that says what, where, and what to do."""


class InputError(ValueError):
    """Bad input from outside (data, settings, weights): shown as one line, exit code 2, no
    traceback.
    """
