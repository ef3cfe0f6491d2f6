// pg-boss with batches, burst fetching and LISTEN/NOTIFY.
import { createRequire } from "node:module";
import { handle, main, payload, ready } from "./desk.mjs";

const require = createRequire(process.env.BENCH_MODULES + "/");
const { PgBoss } = require("pg-boss");
const QUEUE = "confirm";

await main(async (options, verb) => {
  const boss = new PgBoss({ connectionString: options.dsn, max: 10, useListenNotify: true });
  boss.on("error", console.error);
  await boss.start();
  return {
    prepare: () => boss.createQueue(QUEUE, { notify: true }),
    send: (order) => boss.send(QUEUE, payload(order)),
    bulk: (orders) => boss.insert(QUEUE, orders.map((order) => ({ data: payload(order) }))),
    async work({ concurrency, limited }) {
      const settings = {
        // A worker with batches of one sleeps half a second after each job, whatever waits: so a limit of jobs at a time
        // is two workers with half of it each, whose handler runs its batch at once.
        batchSize: limited ? Math.max(1, concurrency / 2) : 500,
        localConcurrency: limited ? 2 : 1,
        pollingIntervalSeconds: 0.5,
        burstWhenBatchFull: true,
      };
      await boss.work(QUEUE, settings, (jobs) => Promise.all(jobs.map((job) => handle(job.data))).then(() => {}));
      ready();
    },
  };
});
