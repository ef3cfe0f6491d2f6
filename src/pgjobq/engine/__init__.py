"""What runs jobs. Each file is one chore; `pump` is where they meet.

    lease      one claimed job, as the worker holds it
    cursor     where a claim starts looking (pure)
    wire       the worker's own connections: settings, bounded waits, notifications
    exchange   one round trip: settle what ended, claim what comes next
    pump       the loop: when to exchange, how much to claim, when to sleep
    slots      runs coroutine handlers on the event loop
    threads    runs plain handlers in threads
    attempt    one attempt from arguments to outcome
    board      shared memory that tells the supervisor what runs, without a message per job
    heart      renews the leases, away from user code
    upkeep     promote, rescue, retain, vacuum
    keeper     heart and upkeep together, in threads of their own
"""
