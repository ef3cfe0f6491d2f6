"""Each query once, as a value: SQL text, parameters and how to read the rows. Nothing here talks to a database.

*.sql       the statements, as SQL
text        finds one by name and puts the schema's name in
statement   Statement, the value
jobs        what an application and its operators say, as Statements
"""

from __future__ import annotations

from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text

__all__ = ["Rows", "Statement", "statement_text"]
