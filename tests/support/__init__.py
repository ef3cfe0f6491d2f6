"""What tests stand on: a server, databases, PgBouncer, the conservation law, waiting (`import support`)."""
