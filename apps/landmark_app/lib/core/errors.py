"""The one exception whose text a client may read."""

from __future__ import annotations

from http import HTTPStatus

from monailabel.interfaces.exception import MONAILabelError, MONAILabelException


class ClientError(MONAILabelException):
    """A request that cannot be answered, and why, in one line that is safe to send.

    The server answers `{"error": message}` with this status. Every other exception is logged and becomes a 500 without
    its text, so nothing of the machine gets out by accident.

    Args:
        message: one line that says what was given, what is allowed and what to do next. No paths of the server.
        status: the HTTP status, 400 to 599.

    Raises:
        ValueError: `status` is not that of an error.
    """

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        if not HTTPStatus.BAD_REQUEST <= status < 600:
            raise ValueError(f"{status} is not the HTTP status of an error (400 to 599)")
        kind = (
            MONAILabelError.INVALID_INPUT if status < HTTPStatus.INTERNAL_SERVER_ERROR else MONAILabelError.SERVER_ERROR
        )
        super().__init__(kind, message)
        self.message = message
        self.status = int(status)

    def __str__(self) -> str:
        """The message alone."""
        return self.message
