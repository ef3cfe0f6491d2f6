"""Other people's tools, each in a module of its own that imports it: nothing else here does.

prometheus   a registry of prometheus_client tells what stands in a queue, or what an embedded worker counts
otel         spans and metrics for OpenTelemetry
sentry       errors, with their job, for Sentry
subject      what a job's tools may show of it
"""
