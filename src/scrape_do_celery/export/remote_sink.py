"""The sink for a URL of fsspec, such as `s3://bucket/folder`."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.export.extras import load_extra
from scrape_do_celery.export.sinks import exists_error, make_temporary_name
from scrape_do_celery.outside_text import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class RemoteSink:
    """A folder of a file system that fsspec knows.

    At the end of a block with an error, files of fsspec publish the bytes that they have. So a file is written under a
    temporary name, and gets its own name by a move.
    """

    def __init__(self, files: Any, folder: str, label: str) -> None:
        self._files, self._folder, self._label = files, folder.rstrip("/"), label

    @classmethod
    def of_url(cls, url: str, options: Mapping[str, Any] | None = None) -> Self:
        """Return the sink of a folder, with the options of its file system.

        Raises:
            ConfigurationError: fsspec, or the package for this kind of URL, is not installed; or no such kind exists.
        """
        fsspec = load_extra("fsspec.core", "fsspec")
        try:
            files, folder = fsspec.url_to_fs(url, **(options or {}))
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"cannot write to {redact_url(url)}: {error}") from None
        return cls(files, folder, redact_url(url))

    @property
    def label(self) -> str:
        """The URL without its password."""
        return self._label

    @contextmanager
    def create(self, name: str, *, replace: bool = True) -> Iterator[IO[bytes]]:
        """Yield a file, which gets its name when all its bytes are written.

        Most services cannot refuse a name that is taken. So without `replace`, the sink looks at the name again before.
        """
        self._files.makedirs(self._folder, exist_ok=True)
        temporary = self._path(make_temporary_name(name))
        try:
            with self._files.open(temporary, "wb") as file:
                yield file
            self._move(temporary, name, replace=replace)
        except BaseException:
            # The first error tells more than that of a server which is away now.
            with suppress(Exception):
                self._files.rm_file(temporary)
            raise

    def open(self, name: str) -> IO[bytes]:
        """Return a file to read."""
        file: IO[bytes] = self._files.open(self._path(name), "rb")
        return file

    def exists(self, name: str) -> bool:
        """Return whether the folder has a file of this name.

        Raises:
            OSError: the service did not tell. `exists` of fsspec would answer that no such file is there.
        """
        self._files.invalidate_cache()
        try:
            self._files.info(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def names(self) -> list[str]:
        """Return the names in the folder."""
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(self._folder, detail=False)
        except FileNotFoundError:
            return []
        # An object store may list the folder itself.
        inside = [path.rstrip("/") for path in paths if path.strip("/") != self._folder.strip("/")]
        return [path.rpartition("/")[2] for path in inside]

    def remove(self, name: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def sync(self) -> None:
        """Do nothing, because a service keeps what it has confirmed."""

    def _move(self, source: str, name: str, *, replace: bool) -> None:
        """Give a file its name. The move that fsspec has for all file systems takes a path for a pattern, as `a[b]`."""
        if not replace and self.exists(name):
            raise exists_error(self, name)
        target = self._path(name)
        if type(self._files).mv is not load_extra("fsspec", "fsspec").AbstractFileSystem.mv:
            self._files.mv(source, target)
            return
        self._files.cp_file(source, target)
        self._files.rm_file(source)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"
