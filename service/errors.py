"""The closed set of errors that a client can meet, and their one body."""

from enum import Enum

from pydantic_core import to_json

Headers = tuple[tuple[bytes, bytes], ...]


class ErrorType(Enum):
    """Every `error_type` of a reply with its HTTP status."""

    INVALID_JSON = ("invalid_json", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    TOO_LARGE = ("too_large", 413)
    UNSUPPORTED_MEDIA_TYPE = ("unsupported_media_type", 415)
    VALIDATION = ("validation", 422)
    INTERNAL = ("internal", 500)
    OVERLOADED = ("overloaded", 503)
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504)

    def __init__(self, label: str, status: int) -> None:
        self.label = label
        self.status = status


_ALWAYS: dict[ErrorType, Headers] = {ErrorType.OVERLOADED: ((b"retry-after", b"1"),)}  # seconds


class ClientGoneError(Exception):
    """The client has hung up before its request was answered; nobody reads an answer."""


class ServiceError(Exception):
    """One error as the client sees it: `message` names the field, the rule and the value received."""

    def __init__(self, error_type: ErrorType, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.headers = headers + _ALWAYS.get(error_type, ())

    @property
    def body(self) -> bytes:
        """The JSON of the contract.

        >>> ServiceError(ErrorType.NOT_FOUND, "path: no such route, got /x").body
        b'{"error":"path: no such route, got /x","error_type":"not_found"}'
        """
        return to_json({"error": self.message, "error_type": self.error_type.label})
