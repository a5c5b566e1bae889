from __future__ import annotations

GONE = "Task response content is no longer available."


class ApiError(Exception):
    """An error answer of the API."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def body(self) -> dict[str, object]:
        """Return the error object that travels over the wire."""
        return {"Error": self.text, "Code": self.status}
