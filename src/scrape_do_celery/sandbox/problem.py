from __future__ import annotations

GONE = "Task response content is no longer available."


class ApiError(Exception):
    """An answer of the API that is not a success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def body(self) -> dict[str, object]:
        """The error object as it goes over the wire."""
        return {"Error": self.text, "Code": self.status}
