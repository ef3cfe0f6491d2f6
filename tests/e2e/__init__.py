"""The example shop, end to end: real HTTP, real SMTP, real workers."""
