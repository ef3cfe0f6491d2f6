"""A small shop that takes orders and lets pgjobq carry them out: see README.md beside this file."""
