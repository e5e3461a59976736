"""Files as in Reuters-21578's archive, made by the tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

HEAD = '<!DOCTYPE lewis SYSTEM "lewis.dtd">\n'


def newswire_sgml(topics: Sequence[str], text: str, *, number: int = 1, kind: str | None = None) -> str:
    """One newswire; `text` is what stands between <TEXT> and </TEXT>."""
    listed = "".join(f"<D>{topic}</D>" for topic in topics)
    attribute = f' TYPE="{kind}"' if kind else ""
    return (
        f'<REUTERS TOPICS="YES" LEWISSPLIT="TRAIN" CGISPLIT="TRAINING-SET" OLDID="{number + 5000}" NEWID="{number}">\n'
        "<DATE>26-FEB-1987 15:01:01.79</DATE>\n"
        f"<TOPICS>{listed}</TOPICS>\n"
        "<PLACES><D>usa</D></PLACES>\n<PEOPLE></PEOPLE>\n<ORGS></ORGS>\n<EXCHANGES></EXCHANGES>\n<COMPANIES></COMPANIES>\n"
        "<UNKNOWN> \n&#5;&#5;&#5;C T\n&#22;&#22;&#1;f0704&#31;reute</UNKNOWN>\n"
        f"<TEXT{attribute}>&#2;\n{text}</TEXT>\n</REUTERS>\n"
    )


def norm_text(title: str, body: str) -> str:
    """What stands in <TEXT> of a newswire of the usual form."""
    return f"<TITLE>{title}</TITLE>\n<DATELINE>    SALVADOR, Feb 26 - </DATELINE><BODY>{body}\n Reuter\n&#3;</BODY>"


def write_archive(path: Path, files: Sequence[str], *, folder: str = "") -> Path:
    """A packed archive whose files reut2-000.sgm, reut2-001.sgm ... have these contents, the last one first, among others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {f"reut2-{number:03d}.sgm": content for number, content in enumerate(files)}
    contents |= {"README.txt": "not SGML", "all-topics-strings.lc.txt": "earn\nacq\n"}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in reversed(contents.items()):
            data = content.encode()
            member = tarfile.TarInfo(folder + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
