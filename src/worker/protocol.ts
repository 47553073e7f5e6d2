import type { MessagePort } from "node:worker_threads";

/**
 * The words of the protocol between a broker and its clients in other threads and processes: docs/design/0030-worker-protocol.md.
 *
 * A batch is one array: the tag, the packed numbers and texts of its records, then frames one after another, each an operation and
 * its arguments. Flat, because the structured clone of one long array costs half of what an object for each frame does.
 */

/** The first element of every batch: tells ours from other traffic on a shared channel, and its version. */
export const batchTag = "inproc-broker/2";
/** Where a batch has its packed numbers (an array, or null), its packed text, and its first frame. */
export const numbersAt = 1;
export const textAt = 2;
export const framesAt = 3;

/**
 * Said between a worker thread and its parent before there is a channel: the client asks to connect, the broker's side says
 * that it listens (and is asked again), and sends a port.
 */
export interface Greeting {
  readonly inprocBroker: "connect" | "exposed" | "port";
  readonly client?: string;
  readonly port?: MessagePort;
}

/** What a client may say. Every operation that is answered has the number of the call as its first argument. */
export const ask = {
  /** probe: a Map, which only structured clone carries. */
  hello: 1,
  /** topic number, name. */
  topic: 2,
  /** call, topic number, data, options | null. */
  publish: 3,
  /** call, entries. */
  publishBatch: 4,
  /** call, topic number, data, options. */
  request: 5,
  /** call, topic number, data, options: opens an iteration that `next` moves. */
  requestMany: 6,
  /** call, iteration, isReturn. */
  next: 7,
  /** call, kind, subscription, patterns, options, credits. */
  subscribe: 8,
  /** call, subscription, options. */
  unsubscribe: 9,
  /** call, subscription. */
  drain: 10,
  /** subscription, more deliveries it may be sent; fewer where negative. */
  credit: 11,
  /** subscription, is paused. */
  pause: 12,
  /** subscription. */
  heartbeat: 13,
  /** call, subscription. */
  stats: 14,
  /** call, subscription, most: what is there now, and no wait. */
  fetchNow: 15,
  /** subscription, count, delivery numbers: their handlers have succeeded. */
  acks: 16,
  /** subscription, delivery number, reason: its handler has failed. */
  failed: 17,
  /** call, subscription, delivery number, decision, argument. */
  settle: 18,
  /** call, delivery id, decision, argument: of a delivery that this client was not sent. */
  settleById: 19,
  /** subscription, count, delivery numbers: still wanted, give them their full time again. */
  keep: 20,
  /** subscription, delivery number: tell when it is taken back. */
  watch: 21,
  /** subscription, delivery number, has failed, answer or error: what a responder made of a request. */
  answer: 22,
  /** call, reply topic, data, options. */
  reply: 23,
  /** call: its caller has given up. */
  abort: 24,
  /** call. */
  flush: 25,
  /** event name, is wanted. */
  event: 26,
  /** more events it may be sent. */
  eventCredit: 27,
  /** The client goes, and knows it. */
  close: 28,
  /** The client's event loop turns: answers `lost`. */
  alive: 29,
  /** number, milliseconds: told when they have passed, where the broker's side keeps the time. */
  deadline: 30,
  /** number: no longer wanted. */
  noDeadline: 31,
} as const;

/** What the broker's side may say. */
export const tell = {
  /** Calls a client may have open, whether deadlines are kept here. */
  welcome: 1,
  /** topic number, name. */
  topic: 2,
  /** call, value. */
  returned: 3,
  /** call, error. */
  threw: 4,
  /** call, id, seq, matched. */
  published: 5,
  /** subscription, first delivery number, topic number, timestamp, count, first seq, from one seq to the next, then the data of each. */
  deliver: 6,
  /** subscription, delivery number, topic number, timestamp, seq, data, facts. */
  deliverWithFacts: 7,
  /** subscription, delivery number: taken back. */
  lost: 8,
  /** subscription, error | null: it is over. */
  ended: 9,
  /** event name, arguments. */
  event: 10,
  /** Error: the broker is closed, or lets go of the client. */
  closed: 11,
  /** The eight characters that end the ids which the broker makes. */
  nonce: 12,
  /** shape number, keys, the kind of each. */
  shape: 13,
  /**
   * As `deliver`, but in place of the data: a shape number, where the first record begins among the packed numbers and in the packed
   * text, and those values of each record that are not packed.
   */
  deliverRecords: 14,
  /** number: a deadline is over. */
  deadline: 15,
} as const;

/**
 * How a value of a record travels: as a packed number, as a packed text (whose end is among the numbers), or by itself. integer: of 32
 * bits, and no -0; whoever reads it may make it a small integer, which costs less than a number does.
 */
export const recordKind = { integer: 0, number: 1, text: 2, other: 3 } as const;
export type RecordKind = (typeof recordKind)[keyof typeof recordKind];

/** How a subscription takes messages: into a handler, on demand, into a responder, or as a pool's worker. */
export type SubscriptionKind = "push" | "pull" | "respond" | "feed";

/** How a delivery is decided by a call. */
export type WireDecision = "ack" | "nack" | "reject" | "extend";

/** Calls a client may have open; what is beyond waits in the client. */
export const callWindow = 1_024;
/** Calls that may wait in a client for that, as `limits.maxWaitingPublishers` has it; beyond, `ERR_QUEUE_FULL`. */
export const maxWaitingCalls = 65_536;
/** Events sent to a client and not confirmed; beyond, events are dropped. */
export const eventWindow = 1_024;
/** Deadlines that are kept for a client; beyond, one is over at once. */
export const maxDeadlines = 65_536;
/** Topics known by number in one direction; then numbering begins again. */
export const maxNumberedTopics = 4_096;
/** Keys of a record; what has more is cloned as it is. */
export const maxRecordKeys = 32;
/** Shapes of records known by number; more are not made. */
export const maxShapes = 1_024;
/** Deliveries a subscription without acknowledgement may be ahead of its handler. */
export const maxUnacknowledgedWindow = 4_096;
