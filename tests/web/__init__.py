"""The dashboard: its pages over HTTP, who may, forged requests, and people at a real browser."""
