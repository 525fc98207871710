"""The statement as one HTML page that needs nothing else, and prints well."""

from __future__ import annotations

import html as escaping
import re

from markdown_it import MarkdownIt

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; } h2 { border-bottom: 1px solid #999; padding-bottom: .2rem; }
table { border-collapse: collapse; margin: .6rem 0 1.2rem; font-size: .9em; }
th, td { border: 1px solid #bbb; padding: .2rem .5rem; text-align: left; vertical-align: top; }
thead { background: #eee; display: table-header-group; } code { font-size: .95em; overflow-wrap: anywhere; }
nav ol { list-style: none; padding-left: 0; } nav a { color: inherit; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; } tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; } @page { margin: 18mm; } }
"""
_HEADING = re.compile(r"<h2>(.*?)</h2>")
_EMPTY_HEAD = re.compile(r"<thead>\s*<tr>\s*(?:<th></th>\s*)+</tr>\s*</thead>\s*")


def html(markdown: str) -> str:
    """Valid HTML5. Whatever looks like HTML in the text is shown as it is."""
    # As commonmark, but with tables and without HTML.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    title = escaping.escape(markdown.partition("\n")[0].lstrip("# "))
    body = _EMPTY_HEAD.sub("", body)
    headings = _HEADING.findall(body)
    for number, heading in enumerate(headings, 1):
        body = body.replace(f"<h2>{heading}</h2>", f'<h2 id="s{number}">{heading}</h2>', 1)
    contents = "".join(f'<li><a href="#s{number}">{heading}</a></li>' for number, heading in enumerate(headings, 1))
    first, end, rest = body.partition("</h1>")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{first}{end}\n<nav><ol>{contents}</ol></nav>\n{rest}</body>\n</html>\n"
    )
