"""How objects show themselves in a notebook."""

import html
from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def shown_html(title: str, lines: Sequence[str], table: pa.Table) -> str:
    """Render a title, lines of text and a table as HTML. All texts are escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.column_names)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(_cell(value))}</td>' for value in row)}</tr>"
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True)
    )
    text = "<br>".join([f"<b>{html.escape(title)}</b>", *map(html.escape, lines)])
    return f"<p>{text}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
