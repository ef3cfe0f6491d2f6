// graphile-worker with its batch settings: a local queue of jobs and batched completion.
import { createRequire } from "node:module";
import { EMAIL, handle, main, payload, ready } from "./desk.mjs";

const require = createRequire(process.env.BENCH_MODULES + "/");
const { makeWorkerUtils, run } = require("graphile-worker");
const { Pool } = require("pg");

await main(async (options, verb) => {
  const pgPool = new Pool({ connectionString: options.dsn, max: 10 });
  const utils = verb === "work" ? null : await makeWorkerUtils({ pgPool });
  return {
    prepare: () => utils.migrate(),
    send: (order) => utils.addJob("confirm", payload(order)),
    bulk: (orders) => utils.addJobs(orders.map((order) => ({ identifier: "confirm", payload: payload(order) }))),
    async work({ concurrency }) {
      await run({
        pgPool,
        concurrency,
        noHandleSignals: true,
        pollInterval: 2000,
        taskList: { confirm: (order) => handle(order) },
        preset: {
          worker: {
            localQueue: { size: Math.max(500, concurrency + 1), refetchDelay: { durationMs: 10 } },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
          },
        },
      });
      ready();
    },
  };
});
