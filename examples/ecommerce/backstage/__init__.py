"""What stands around the shop in `demo` and `serve`: processes, customers, and who checks them."""
