"""The shop itself: a Starlette application, its tables, and the tasks that follow an order."""
