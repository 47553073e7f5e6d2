/**
 * How long the event loop is held up while messages flood through it.
 *
 * A publisher publishes without pause for a fixed time while a timer of 1 ms asks how late it is; the delay
 * includes that millisecond. The target is for p99, in every flood of ours.
 */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import Emittery from "emittery";
import { InProcBroker } from "../../dist/index.js";
import { collectGarbage, spread } from "../harness.mjs";
import { BURST, payloads } from "../workload.mjs";

const TOPIC = "orders.created";
const TARGET_MS = 20;

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "event-loop-delay",
  group: "Event-loop delay under flood",
  kind: "figures",
  async measure({ quick, rounds }) {
    const floodMs = quick ? 500 : 1500;
    const lines = [
      ["each `publish` awaited, plain handler, at most once", await plain(awaitEach), true],
      ["1,000 in flight, plain handler, at most once", await plain(awaitThousand), true],
      ["each `publish` awaited, async handler, at least once", await acknowledged(awaitEach), true],
      ["1,000 in flight, async handler, at least once", await acknowledged(awaitThousand), true],
      ["8 publishers, each `publish` awaited, at least once", await acknowledged(eight), true],
      ["emittery, each emit awaited (context)", emittery(), false],
    ];
    const results = lines.map(() => []);
    for (let round = -1; round < Math.min(rounds, 5); round++) {
      for (const [i, [label, contender]] of lines.entries()) {
        collectGarbage();
        const result = await flood(label, contender, floodMs);
        if (round >= 0) results[i].push(result);
      }
    }
    for (const [, contender] of lines) await contender.close();

    return {
      columns: ["flood", "messages/s", "p50 ms", "p99 ms (min–max)", "max ms", "target p99", ""],
      rows: lines.map(([label, , isOurs], i) => {
        const of = (key) => spread(results[i].map((result) => result[key]));
        const p99 = of("p99Ms");
        const pass = isOurs ? p99.median < TARGET_MS : undefined;
        return {
          cells: [
            label,
            Math.round(of("rate").median).toLocaleString("en"),
            of("p50Ms").median.toFixed(1),
            `${p99.median.toFixed(1)} (${p99.min.toFixed(1)}–${p99.max.toFixed(1)})`,
            of("maxMs").median.toFixed(1),
            isOurs ? `< ${TARGET_MS}` : "",
          ],
          pass,
        };
      }),
      data: lines.map(([label], i) => ({ label, rounds: results[i] })),
    };
  },
};

async function flood(label, { publish, settle, seen }, floodMs) {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  const before = seen();
  delays.enable();
  // The monitor measures from one tick to the next: without a tick before and after, a flood that never lets the
  // loop turn would not be seen at all.
  await sleep(5);
  const start = performance.now();
  const sent = await publish(start + floodMs);
  await settle();
  const elapsedMs = performance.now() - start;
  await sleep(5);
  delays.disable();
  if (seen() - before !== sent) throw new Error(`${label}: ${seen() - before} seen of ${sent}`);
  return {
    rate: (sent / elapsedMs) * 1000,
    p50Ms: delays.percentile(50) / 1e6,
    p99Ms: delays.percentile(99) / 1e6,
    maxMs: delays.max / 1e6,
  };
}

/** Publishers: each publishes until `deadline` and returns how many it sent. */
async function awaitEach(publish, deadline) {
  let sent = 0;
  while (performance.now() < deadline) {
    for (let i = 0; i < 64; i++, sent++) await publish(payloads[i]);
  }
  return sent;
}

async function awaitThousand(publish, deadline) {
  let sent = 0;
  while (performance.now() < deadline) {
    let last;
    for (let i = 0; i < BURST; i++, sent++) last = publish(payloads[i]);
    await last;
  }
  return sent;
}

async function eight(publish, deadline) {
  const publishers = Array.from({ length: 8 }, () => awaitEach(publish, deadline));
  const counts = await Promise.all(publishers);
  return counts.reduce((sum, count) => sum + count, 0);
}

async function plain(publisher) {
  const broker = new InProcBroker();
  await broker.ready();
  let handled = 0;
  broker.subscribe(TOPIC, () => {
    handled += 1;
  });
  return contender(broker, publisher, () => handled);
}

async function acknowledged(publisher) {
  const broker = new InProcBroker({ ack: {} });
  await broker.ready();
  let handled = 0;
  broker.subscribe(TOPIC, async () => {
    handled += 1;
  });
  return contender(broker, publisher, () => handled);
}

function contender(broker, publisher, seen) {
  const publish = (payload) => broker.publish(TOPIC, payload);
  return {
    publish: (deadline) => publisher(publish, deadline),
    settle: () => broker.idle(),
    seen,
    close: () => broker.close(),
  };
}

function emittery() {
  const emitter = new Emittery();
  let handled = 0;
  emitter.on(TOPIC, () => {
    handled += 1;
  });
  return {
    publish: (deadline) => awaitEach((payload) => emitter.emit(TOPIC, payload), deadline),
    settle: () => {},
    seen: () => handled,
    close: () => {},
  };
}
