"""Recognise files by their first bytes, so that a wrong file is refused before anything is started."""

from pathlib import Path

from shared.errors import InputError, UnsupportedMedia

HEAD_BYTES = 16
IMAGE, SOUND = "image", "sound"


def require_kind(path: Path, kind: str) -> None:
    """Refuse a file that is missing, empty or clearly of another kind.

    Args:
        path: file named by the user.
        kind: `IMAGE` or `SOUND`.

    Raises:
        InputError: no such file, or empty.
        UnsupportedMedia: its first bytes say that it is something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(f"{path}: the file is empty")
    seen = kind_of(head)
    if seen != kind:
        expected = {IMAGE: "a portrait (jpg, png, webp)", SOUND: "speech (mp3, m4a, ogg, webm, flac, wav)"}[kind]
        raise UnsupportedMedia(f"{path}: expected {expected}, this looks like {_article(seen)}")


def kind_of(head: bytes) -> str | None:
    """`IMAGE`, `SOUND` (containers with a sound track included) or None for the first bytes of a file."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return IMAGE
    riff_wave = head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"
    mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    if riff_wave or mpeg or head[4:8] == b"ftyp" or head.startswith((b"ID3", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3")):
        return SOUND
    return None


def _article(seen: str | None) -> str:
    return {IMAGE: "an image", SOUND: "a sound or video file"}.get(seen or "", "something else")
