"""What runs jobs. Each file is one chore; `pump` is where they meet.

lease      one claimed job, as the worker holds it
cursor     where a claim starts looking (pure)
wire       the worker's own connections: settings, bounded waits, notifications
contact    connect, register, come back after an outage
exchange   one round trip: settle what ended, claim what comes next
pump       the loop: when to exchange, how much to claim, when to sleep
floor      what is at hand and what runs: starts what there are places for
chunks     gathers jobs for handlers that take many in one call
orders     what operators want of a worker while it works: pauses, cancelling
intake     when to claim, how much, and where to look
outbox     outcomes on their way to the database
settling   one at a time, when a batch of outcomes cannot be written
slots      runs coroutine handlers on the event loop
threads    runs plain handlers in threads
cells      runs isolated handlers, each in a process of its own
cell       such a process
crossing   what a worker process and its cells say to each other
memory     the limit of what a handler in a cell may take
runners    slots, threads and cells together
attempt    one attempt from arguments to outcome
board      shared memory that tells the supervisor what runs, without a message per job
sleepers   shared memory that tells which processes of a worker sleep, and how one of them is rung
switchboard listens for all processes of a worker, and rings one for each call
heart      renews the leases, away from user code
upkeep     promote, rescue, retain, vacuum
retention  delete old jobs, in small turns
keeper     heart and upkeep together, in threads of their own
app        from `module:queue` to the Queue
process    one worker process, as its supervisor starts it
link       what a supervisor and its processes say to each other
overdue    SIGTERM, for a handler that holds up the loop after its time-out
parent     die with the process that started this one
crew       what the supervisor knows of its processes
discipline what is done about processes that are late or use too much memory
wakeups    signals as something to wait for
supervisor starts, watches, ends and replaces worker processes
report     outcomes as events, and their sums
figures    what all processes of a worker have counted, for Prometheus
endpoint   where Prometheus asks
loops      which event loop
"""
