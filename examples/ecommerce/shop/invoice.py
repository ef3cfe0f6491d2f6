"""The invoice as a PDF."""

from __future__ import annotations

from io import BytesIO
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from .money import VAT_PERCENT, show_money
from .orders import Order

INK, SOFT, ACCENT = colors.HexColor("#2b2520"), colors.HexColor("#7a6f64"), colors.HexColor("#a8472a")
_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=10, leading=14, textColor=INK)
_SOFT = ParagraphStyle("soft", parent=_BODY, textColor=SOFT, fontSize=9)
_TITLE = ParagraphStyle("title", parent=_BODY, fontName="Times-Roman", fontSize=26, leading=32, textColor=ACCENT)


def draw_invoice(order: Order) -> bytes:
    """One A4 page (more for a long order). The same order gives the same bytes."""
    file = BytesIO()
    page = SimpleDocTemplate(
        file,
        pagesize=A4,
        margin=20 * mm,
        leftMargin=22 * mm,
        rightMargin=22 * mm,
        title=f"Invoice {order.id}",
        author="Corner Shop",
        invariant=1,  # no date of today in it
    )
    page.build([*_heading(order), Spacer(0, 10 * mm), _lines(order), Spacer(0, 12 * mm), *_closing()])
    return file.getvalue()


def _heading(order: Order) -> list[Flowable]:
    head = order.head
    address = "<br/>".join(escape(part) for part in [head.name, *head.address.splitlines()])
    return [
        Paragraph("Corner Shop", _TITLE),
        Paragraph(f"Invoice {order.id} &nbsp;·&nbsp; {head.placed_at:%d %B %Y}", _SOFT),
        Spacer(0, 10 * mm),
        Paragraph(address, _BODY),
    ]


def _lines(order: Order) -> Table:
    rows: list[list[object]] = [["", "Each", "Quantity", "Amount"]]
    rows += [
        [
            Paragraph(
                f"{escape(line.name)}<br/><font size='8' color='#7a6f64'>{escape(line.merchant_name)}</font>",
                _BODY,
            ),
            show_money(line.price_cents),
            str(line.quantity),
            show_money(line.total_cents),
        ]
        for line in order.lines
    ]
    rows.append(["Total", "", "", show_money(order.head.total_cents)])
    rows.append([f"of which VAT ({VAT_PERCENT} %)", "", "", show_money(order.tax_cents)])
    table = Table(rows, colWidths=[84 * mm, 28 * mm, 24 * mm, 30 * mm], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Helvetica", 10),
                ("TEXTCOLOR", (0, 0), (-1, -1), INK),
                ("TEXTCOLOR", (0, 0), (-1, 0), SOFT),
                ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.6, SOFT),
                ("LINEABOVE", (0, -2), (-1, -2), 0.6, SOFT),
                ("FONT", (0, -2), (-1, -2), "Helvetica-Bold", 11),
                ("TEXTCOLOR", (0, -1), (-1, -1), SOFT),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
            ]
        )
    )
    return table


def _closing() -> list[Flowable]:
    return [Paragraph("Thank you. Paid by card; nothing is left to pay.", _SOFT)]
