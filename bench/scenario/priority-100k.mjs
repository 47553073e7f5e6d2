/**
 * 100,000 messages of random priority wait, then all are consumed: highest priority first, first in first out
 * inside one. The whole broker (a paused subscription that is resumed) and its priority queue alone, beside a
 * binary heap of objects with the same order. One operation is one push and one pop. In the steady lines 100,000
 * wait all the time, and each operation pushes one and pops one.
 */

import { Heap } from "mnemonist";
import { InProcBroker } from "../../dist/index.js";
import { PriorityQueue } from "../../dist/collections/priority-queue.js";
import { BURST, payloads, payloadSum, seededRandom, seen, Tally } from "../workload.mjs";

const TOPIC = "jobs.ready";
const MOST = 100_000;

const random = seededRandom(1);
const priorities = Array.from({ length: MOST }, () => Math.floor(random() * 10));

/** @type {import("../harness.mjs").Scenario} */
export const scenario = {
  name: "priority-100k",
  group: "Priority",
  kind: "rate",
  operations: MOST,
  rows: [
    {
      label: "whole broker, 100,000 waiting, push and pop",
      contender: "broker",
      against: "heap",
      atLeast: 0.8,
    },
    { label: "priority queue alone", contender: "queue", against: "heap", atLeast: 1 },
    {
      label: "priority queue alone, steady",
      contender: "queueSteady",
      against: "heapSteady",
      atLeast: 1,
    },
  ],
  async open() {
    return {
      broker: await wholeBroker(),
      heap: heap(),
      queue: queue(),
      heapSteady: heapSteady(),
      queueSteady: queueSteady(),
    };
  },
};

/** Ends the run when messages come in another order than priority, then sequence. */
class OrderCheck {
  #priority = Infinity;
  #sequence = -1;

  see(priority, sequence) {
    const inOrder = priority < this.#priority || (priority === this.#priority && sequence > this.#sequence);
    if (!inOrder) throw new Error(`priority ${priority} came after ${this.#priority}`);
    this.#priority = priority;
    this.#sequence = sequence;
  }
}

async function wholeBroker() {
  const broker = new InProcBroker();
  await broker.ready();
  const tally = new Tally();
  let order = new OrderCheck();
  let failure;
  broker.on?.("error", (error) => {
    failure ??= error;
  });
  const subscription = broker.subscribe(
    TOPIC,
    (message) => {
      order.see(message.priority, message.seq);
      tally.add(message.data.id);
    },
    { maxMessages: 2 * MOST, maxBytes: 2 ** 30 },
  );
  return {
    label: "publishSync, paused, resumed",
    tally,
    prepare() {
      order = new OrderCheck();
    },
    async run(operations) {
      subscription.pause();
      for (let i = 0; i < operations; i++) {
        broker.publishSync(TOPIC, payloads[i % BURST], { priority: priorities[i] });
      }
      subscription.resume();
      await seen(tally, operations);
      if (failure !== undefined) throw failure;
    },
    close: () => broker.close(),
  };
}

const makeItem = (sequence) => ({
  priority: priorities[sequence % MOST],
  sequence,
  data: payloads[sequence % BURST],
});
const byPriority = (a, b) => b.priority - a.priority || a.sequence - b.sequence;

function heap() {
  const tally = new Tally();
  return {
    label: "mnemonist Heap",
    tally,
    run(operations) {
      const order = new OrderCheck();
      const waiting = new Heap(byPriority);
      for (let i = 0; i < operations; i++) {
        waiting.push(makeItem(i));
      }
      while (waiting.size > 0) {
        const item = waiting.pop();
        order.see(item.priority, item.sequence);
        tally.add(item.data.id);
      }
    },
  };
}

function queue() {
  const tally = new Tally();
  return {
    label: "PriorityQueue",
    tally,
    run(operations) {
      const order = new OrderCheck();
      const waiting = new PriorityQueue();
      for (let i = 0; i < operations; i++) {
        waiting.push(makeItem(i), priorities[i]);
      }
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
        order.see(item.priority, item.sequence);
        tally.add(item.data.id);
      }
    },
  };
}

function heapSteady() {
  return steady("mnemonist Heap, steady", () => {
    const waiting = new Heap(byPriority);
    return {
      push: (item) => {
        waiting.push(item);
      },
      pop: () => waiting.pop(),
    };
  });
}

function queueSteady() {
  return steady("PriorityQueue, steady", () => {
    const waiting = new PriorityQueue();
    return {
      push: (item) => {
        waiting.push(item, item.priority);
      },
      pop: () => waiting.shift(),
    };
  });
}

function steady(label, makeQueue) {
  const tally = new Tally();
  let waiting;
  return {
    label,
    tally,
    prepare() {
      waiting = makeQueue();
      for (let i = 0; i < MOST; i++) waiting.push(makeItem(i));
    },
    run(operations) {
      for (let i = 0; i < operations; i++) {
        waiting.push(makeItem(MOST + i));
        tally.add(waiting.pop().data.id);
      }
    },
    /** What has gone in less what is still there. */
    expect(operations) {
      let sum = payloadSum(MOST + operations);
      let left = 0;
      for (let item = waiting.pop(); item !== undefined; item = waiting.pop(), left++) {
        sum -= item.data.id;
      }
      return { count: MOST + operations - left, sum };
    },
  };
}
