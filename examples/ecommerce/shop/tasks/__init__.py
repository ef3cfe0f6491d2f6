"""What happens after an order is placed: one module per task, found by `shop.jobs.load_tasks()`.

A new task is a new file here:

    from ..events import on_order_placed
    from ..jobs import queue

    @on_order_placed("Add loyalty points")
    @queue.task
    def add_loyalty_points(order_id: int) -> None: ...
"""
