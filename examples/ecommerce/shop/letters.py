"""The confirmation email, as a message ready to send."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from .invoice import draw_invoice
from .orders import Order
from .recommendations import Suggestion
from .rendering import templates
from .settings import ShopSettings


def message_id(order_id: int, mail_from: str) -> str:
    """The same for every sending of one order's confirmation: a copy can be told from a second letter."""
    return f"<order-{order_id}-confirmation@{parseaddr(mail_from)[1].rpartition('@')[2]}>"


def compose_confirmation(order: Order, suggestions: list[Suggestion], settings: ShopSettings) -> EmailMessage:
    """Text, HTML and the invoice as a PDF attachment. The same order gives the same letter, byte for byte."""
    head = order.head
    letter = EmailMessage(policy=SMTP)
    letter["From"] = settings.mail_from
    letter["To"] = head.email
    letter["Subject"] = f"Your order {order.id} at Corner Shop"
    letter["Date"] = format_datetime(head.placed_at)
    letter["Message-ID"] = message_id(order.id, settings.mail_from)
    letter["X-Shop-Order"] = str(order.id)
    words = {"order": order, "suggestions": suggestions, "public_url": settings.public_url}
    letter.set_content(templates.get_template("email/confirmation.txt").render(words))
    letter.add_alternative(templates.get_template("email/confirmation.html").render(words), subtype="html")
    letter.add_attachment(
        draw_invoice(order), maintype="application", subtype="pdf", filename=f"invoice-{order.id}.pdf"
    )
    # Multipart boundaries are drawn at random otherwise.
    for number, part in enumerate(part for part in letter.walk() if part.is_multipart()):
        part.set_boundary(f"=_order-{order.id}-{number}")
    return letter
