"""Reading the text files that people write: configuration, code lists, tables of limits."""

from __future__ import annotations

from pathlib import Path

from pipelines.base.errors import ConfigError

#: No file that somebody writes comes near it; a larger one is something else.
MAX_BYTES = 64 * 1024 * 1024


def read_text(path: Path, where: str = "") -> str:
    """Return a text file's content, without the mark that Excel puts before UTF-8.

    Args:
        path: the file, or a link to one.
        where: what errors call it; else its path.

    Errors:
        ConfigError: it is absent, no file (a folder, a pipe), unreadable, too large or not UTF-8.
    """
    where = where or str(path)
    try:
        if not path.exists():
            is_link = path.is_symlink()
            raise ConfigError(
                "It is a link to nothing." if is_link else "The file does not exist.",
                where=where,
                remedy="Mend the link or remove it." if is_link else "Check the path.",
            )
        if not path.is_file():
            raise ConfigError(
                "It is a folder." if path.is_dir() else "It is a pipe or a device and no file.",
                where=where,
                remedy="Put a file in its place, or give it another name.",
            )
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"The file is larger than {MAX_BYTES // 1024**2} MiB.",
                where=where,
                remedy="Check that it is what its name says.",
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"The file cannot be read: {error.strerror}.",
            where=where,
            remedy="Check its permissions.",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            "The file is not UTF-8.",
            where=where,
            remedy="Save it as UTF-8 (in Excel: `CSV UTF-8`).",
        ) from None
