// What the Node drivers share; the same verbs and answers as desk.py.
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const EMAIL = "user@example.com";
export const payload = (order) => ({ order_id: order, email: EMAIL });
const WARM_UP = 50;
const HANDLER = process.env.BENCH_HANDLER ?? "noop";
const MILLIS = Number(process.env.BENCH_MILLIS ?? 0);
const now = () => process.hrtime.bigint();

let count = 0n;
let marks = null;

function file(kind) {
  return path.join(process.env.BENCH_HOME, `${kind}-${process.pid}`);
}

// The count is written every few milliseconds: the runner reads it without asking the database.
export function ready() {
  const cell = Buffer.alloc(8);
  const fd = fs.openSync(file("count"), "w");
  setInterval(() => {
    cell.writeBigUInt64LE(count);
    fs.writeSync(fd, cell, 0, 8, 0);
  }, 5);
  fs.writeFileSync(file("ready"), "");
}

export async function handle(order) {
  count += 1n;
  if (HANDLER === "noop") return;
  if (HANDLER === "mark") {
    marks ??= fs.openSync(file("marks"), "a");
    fs.writeSync(marks, `${order.order_id} ${now()}\n`);
    return;
  }
  await sleep(MILLIS);
}

const seconds = (since) => Number(now() - since) / 1e9;

// driver: { prepare(), send(order), bulk(orders), work(options), close() }
const verbs = {
  async prepare(driver) {
    await driver.prepare();
    return {};
  },
  async one(driver, options) {
    for (let order = 0; order < WARM_UP; order++) await driver.send(order);
    if (options.at) await sleep(Math.max(0, options.at * 1000 - Number(now()) / 1e6));
    let sent = 0;
    const begin = now();
    const limit = options.seconds || Infinity;
    while ((options.jobs ? sent < options.jobs : true) && seconds(begin) < limit) await driver.send(sent++);
    return { jobs: sent, seconds: seconds(begin) };
  },
  async bulk(driver, options) {
    await driver.bulk(Array.from({ length: WARM_UP }, (_, i) => i));
    const begin = now();
    for (let start = WARM_UP; start < options.jobs; start += 5000) {
      const length = Math.min(5000, options.jobs - start);
      await driver.bulk(Array.from({ length }, (_, i) => start + i));
    }
    return { jobs: options.jobs - WARM_UP, seconds: seconds(begin) };
  },
  async probe(driver, options) {
    const sent = [];
    for (let order = -WARM_UP / 5; order < options.jobs; order++) {
      await sleep(options.gap * 1000);
      const before = now();
      await driver.send(order);
      if (order >= 0) sent.push([order, Number(before), Number(now())]);
    }
    return { sent };
  },
  async work(driver, options) {
    await driver.work(options);
    await new Promise(() => {});
  },
};

export async function main(open) {
  const verb = process.argv[2];
  const options = { jobs: 0, seconds: 0, gap: 0.03, concurrency: 100, ...JSON.parse(process.argv[3]) };
  const driver = await open(options, verb);
  console.log(JSON.stringify(await verbs[verb](driver, options)));
  process.exit(0);
}
