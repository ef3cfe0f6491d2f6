"""The pages people see: one module per part of the shop."""
