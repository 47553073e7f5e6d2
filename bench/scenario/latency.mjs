/**
 * Time from publish to handler.
 *
 * Open loop: messages are due at a fixed rate, and a latency counts from when the message was due, so that a
 * stall is charged to every message that it held up. Saturation: bursts of 1,000 one after the other, counted
 * from the call. Percentiles are exact, over all samples of a round; the table has the median of the rounds.
 */

import Emittery from "emittery";
import mqemitter from "mqemitter";
import { InProcBroker } from "../../dist/index.js";
import { collectGarbage, percentiles, spread } from "../harness.mjs";
import { BURST, openLoop, turn } from "../workload.mjs";

const TOPIC = "orders.created";
const RATE = 50_000;
const SHARES = [0.5, 0.99, 0.999, 1];
const roomy = { maxMessages: 1_000_000, maxBytes: 2 ** 30 };

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "latency",
  group: "Latency from publish to handler",
  kind: "figures",
  async measure({ quick, rounds }) {
    const messages = quick ? 10_000 : RATE;
    const lines = [
      ["inproc-broker `publishSync`, at most once", "open", await ours("publishSync")],
      ["inproc-broker `publish`, at most once", "open", await ours("publish")],
      ["inproc-broker `publish`, at least once", "open", await ours("publish", { ack: {} })],
      ["emittery", "open", emittery()],
      ["mqemitter (calls handlers inside `emit`)", "open", mqemitterContender()],
      ["inproc-broker `publishSync`, at most once", "saturated", await ours("publishSync")],
      ["inproc-broker `publish`, at least once", "saturated", await ours("publish", { ack: {} })],
      ["emittery", "saturated", emittery()],
      ["inproc-broker `publish`, each awaited", "awaited", await ours("publish")],
    ];
    const results = lines.map(() => []);
    for (let round = -1; round < rounds; round++) {
      for (const [i, [, load, contender]] of lines.entries()) {
        collectGarbage();
        const samples = await loads[load](contender, messages);
        if (round >= 0) results[i].push(percentiles(samples, SHARES));
      }
    }
    for (const [, , contender] of lines) await contender.close();

    return {
      columns: ["", "load", "p50 µs", "p99 µs", "p99.9 µs", "max µs"],
      rows: lines.map(([label, load], i) => ({
        cells: [
          label,
          loadLabels[load],
          ...SHARES.map((_, s) => micros(spread(results[i].map((round) => round[s])).median)),
        ],
      })),
      data: lines.map(([label, load], i) => ({
        label,
        load,
        percentilesMs: SHARES.map((share, s) => ({
          share,
          ...spread(results[i].map((round) => round[s])),
        })),
      })),
    };
  },
};

const micros = (milliseconds) => (milliseconds * 1000).toFixed(milliseconds < 0.1 ? 1 : 0);

const loadLabels = {
  open: `${RATE.toLocaleString("en")}/s, open loop`,
  saturated: "saturated, bursts of 1,000",
  awaited: "one at a time",
};

/** A load publishes the numbers from 0 on and returns one latency in ms for each. */
const loads = {
  async open({ send, receive }, messages) {
    const due = new Float64Array(messages);
    const latencies = record(receive, due);
    await openLoop(RATE, due, send);
    return settled(latencies);
  },
  async saturated({ send, receive }, messages) {
    const sentAt = new Float64Array(messages);
    const latencies = record(receive, sentAt);
    for (let sent = 0; sent < messages;) {
      for (let i = 0; i < BURST; i++, sent++) {
        sentAt[sent] = performance.now();
        send(sent);
      }
      while (latencies.count < sent) await turn();
    }
    return settled(latencies);
  },
  async awaited({ send, receive }, messages) {
    const sentAt = new Float64Array(messages);
    const latencies = record(receive, sentAt);
    for (let sent = 0; sent < messages; sent++) {
      sentAt[sent] = performance.now();
      await send(sent);
    }
    return settled(latencies);
  },
};

/** Has each message's latency recorded, counted from `since[number]`. */
function record(receive, since) {
  const latencies = { count: 0, values: new Float64Array(since.length).fill(NaN) };
  receive((number) => {
    latencies.values[number] = performance.now() - since[number];
    latencies.count += 1;
  });
  return latencies;
}

async function settled(latencies) {
  const deadline = performance.now() + 10_000;
  while (latencies.count < latencies.values.length && performance.now() < deadline) await turn();
  await turn();
  await turn();
  const { count, values } = latencies;
  if (count !== values.length || values.some(Number.isNaN)) {
    throw new Error(`messages lost or doubled: ${count} seen of ${values.length}`);
  }
  return values;
}

async function ours(method, options = {}) {
  const broker = new InProcBroker(options);
  await broker.ready();
  let onNumber;
  broker.subscribe(
    TOPIC,
    (message) => {
      onNumber(message.data);
    },
    roomy,
  );
  return {
    send:
      method === "publishSync"
        ? (number) => broker.publishSync(TOPIC, number)
        : (number) => broker.publish(TOPIC, number),
    receive(callback) {
      onNumber = callback;
    },
    close: () => broker.close(),
  };
}

function emittery() {
  const emitter = new Emittery();
  let onNumber;
  emitter.on(TOPIC, (number) => {
    onNumber(number);
  });
  return {
    send: (number) => emitter.emit(TOPIC, number),
    receive(callback) {
      onNumber = callback;
    },
    close() {},
  };
}

function mqemitterContender() {
  const emitter = mqemitter({ concurrency: BURST });
  let onNumber;
  emitter.on(TOPIC, (message, callback) => {
    onNumber(message.payload);
    callback();
  });
  const done = () => {};
  return {
    send: (number) => {
      emitter.emit({ topic: TOPIC, payload: number }, done);
    },
    receive(callback) {
      onNumber = callback;
    },
    close() {},
  };
}
