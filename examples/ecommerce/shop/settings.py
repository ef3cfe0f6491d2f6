"""What the shop wants to know from its environment, read in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The shop's settings; web application and workers read the same ones.

    `merchant_wait` (seconds, doubled after each failure) and `merchant_attempts` say how patient we are with
    a merchant who does not answer: by default an order that cannot be passed on ends with support staff after
    half a minute, which is short enough to be watched.
    """

    dsn: str = ""
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 2525
    mail_from: str = "Corner Shop <orders@shop.example>"
    merchants_url: str = "http://127.0.0.1:8100"
    merchant_timeout: float = 2.0
    merchant_wait: float = 2.0
    merchant_attempts: int = 5
    public_url: str = "http://127.0.0.1:8000"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> ShopSettings:
        """Read `PGJOBQ_DSN` (or `DATABASE_URL`) and `SHOP_*`; what is not set keeps its default.

        Raises ValueError for a number that is none, naming the variable.
        """
        env = os.environ if environ is None else environ
        own = cls()
        return cls(
            dsn=env.get("PGJOBQ_DSN") or env.get("DATABASE_URL", own.dsn),
            smtp_host=env.get("SHOP_SMTP_HOST", own.smtp_host),
            smtp_port=int(_number(env, "SHOP_SMTP_PORT", own.smtp_port)),
            mail_from=env.get("SHOP_MAIL_FROM", own.mail_from),
            merchants_url=env.get("SHOP_MERCHANTS_URL", own.merchants_url).rstrip("/"),
            merchant_timeout=_number(env, "SHOP_MERCHANT_TIMEOUT", own.merchant_timeout),
            merchant_wait=_number(env, "SHOP_MERCHANT_WAIT", own.merchant_wait),
            merchant_attempts=int(_number(env, "SHOP_MERCHANT_ATTEMPTS", own.merchant_attempts)),
            public_url=env.get("SHOP_PUBLIC_URL", own.public_url).rstrip("/"),
        )


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a number; example: {name}={default}") from None
