"""What the tests of the SQL stand on: a worker's hand, gates for races, plans as values (`import sql.support`)."""
