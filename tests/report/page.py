"""A written page as a browser sees it, and what a hostile text may hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

HOSTILE = (
    "</pre></style></title><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\"' $x_{1}$ {{7*7}} \u202e\x00\ud800"
)


class Page(HTMLParser):
    """The page as a browser sees it: ids of sections, tags with attributes, text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.size = path.stat().st_size
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = "".join(self.pieces)
        self.words = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.tags if tag == "section"]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def require_self_contained(self) -> None:
        """One file under 2 MB: no script, nothing fetched, no handler of events, every reference within the page."""
        assert self.size < 2_000_000
        tags = {tag for tag, _ in self.tags}
        assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & tags
        ids = [attributes["id"] for _, attributes in self.tags if attributes.get("id")]
        assert len(ids) == len(set(ids))
        for _, attributes in self.tags:
            assert not {
                key for key in attributes if key.startswith("on") or key in ("src", "srcset", "action")
            }
            target = attributes.get("href") or attributes.get("xlink:href") or ""
            assert not target or (target.startswith("#") and target[1:] in ids), target
            assert "url(" not in (attributes.get("style") or "").replace("url(#", "")
        style = "".join(re.findall(r"<style>.*?</style>", self.source, flags=re.S))
        assert not re.search(r"https?:|@import|url\(", style)
        assert set(re.findall(r"url\(#([\w-]+)\)", self.source)) <= set(ids)
