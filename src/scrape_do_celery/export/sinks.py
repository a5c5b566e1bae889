"""The places that an export writes to. A file appears under its name when it is whole, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final, Protocol

from scrape_do_celery.export.file_names import temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

#: Bytes of the random part of a temporary name.
_TOKEN: Final = 8


class Sink(Protocol):
    """A folder that an export writes to."""

    @property
    def label(self) -> str:
        """The name of the folder in messages."""
        ...

    def create(self, name: str, *, replace: bool = True) -> AbstractContextManager[IO[bytes]]:
        """Return a file to write. It gets its name after a block without error.

        With `replace`, it takes the place of another file.

        Raises:
            FileExistsError: another file has the name by then, and `replace` is not set.
        """
        ...

    def open(self, name: str) -> IO[bytes]:
        """Return a file to read.

        Raises:
            FileNotFoundError: the folder has no such file.
        """
        ...

    def exists(self, name: str) -> bool:
        """Return whether the folder has an entry of this name."""
        ...

    def names(self) -> list[str]:
        """Return the names in the folder. A folder that is absent has none."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if the folder has it."""
        ...

    def sync(self) -> None:
        """Wait until the names of new files are on the disk."""
        ...


class LocalSink:
    """A folder on a disk of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def label(self) -> str:
        """The path."""
        return str(self._folder)

    @contextmanager
    def create(self, name: str, *, replace: bool = True) -> Iterator[IO[bytes]]:
        """Yield a file, which gets its name when it is on the disk. A link of this name is replaced, not followed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / make_temporary_name(name)
        try:
            # "x" follows no link, and gives the mode that the user's umask asks for.
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if replace or not self._link(temporary, name):
                temporary.replace(self._folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _link(self, temporary: Path, name: str) -> bool:
        """Give a file its name if the name is free. Return False if the disk has no links, and the name is free.

        A link fails if the name is taken; a move would replace the file of another writer.

        Raises:
            FileExistsError: the name is taken.
        """
        try:
            os.link(temporary, self._folder / name)
        except OSError:
            if self.exists(name):
                raise exists_error(self, name) from None
            return False
        temporary.unlink()
        return True

    def open(self, name: str) -> IO[bytes]:
        """Return a file to read."""
        return (self._folder / name).open("rb")

    def exists(self, name: str) -> bool:
        """Return whether the folder has an entry of this name, also if the entry is a link that leads nowhere."""
        return os.path.lexists(self._folder / name)

    def names(self) -> list[str]:
        """Return the names in the folder."""
        try:
            return os.listdir(self._folder)  # noqa: PTH208 (names, not paths)
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._folder / name).unlink(missing_ok=True)

    def sync(self) -> None:
        """Let the names of new files outlive a loss of power. Windows cannot open a folder, and needs no such call."""
        with suppress(OSError):
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def exists_error(sink: Sink, name: str) -> FileExistsError:
    """Return the error for a file that must not be replaced."""
    return FileExistsError(
        f"{name} exists already in {sink.label}: choose another name, or overwrite it (overwrite=True, --overwrite)"
    )


def make_temporary_name(name: str) -> str:
    """Return a temporary name that no other writer uses."""
    return temporary_name(name, secrets.token_hex(_TOKEN))
