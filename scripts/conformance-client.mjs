// @ts-check
/**
 * The other side of `conformance-remote.mjs`, in a worker thread or a child process: runs the cases it is told to, on clients of brokers
 * that it has opened over there.
 */
import { EventEmitter } from "node:events";
import process from "node:process";
import { parentPort } from "node:worker_threads";
import { conformance } from "inproc-broker/conformance";
import { connectBroker } from "inproc-broker/worker";

/** Delivery counts that a backoff is asked for in advance. */
const waitsAsked = 32;
/** Ways there and back after which what was ready has happened on both sides: a delivery, its answer, and what follows from that. */
const rounds = 3;

/** @type {(message: any) => void} */
const post = (message) => {
  if (parentPort === null) process.send?.(message);
  else parentPort.postMessage(message);
};

/** @type {Map<number, { resolve: (value: any) => void, reject: (error: unknown) => void }>} */
const calls = new Map();
/** @type {Map<number, EventEmitter>} */
const channels = new Map();
let lastCall = 0;
let lastBroker = 0;
let lastChannel = 0;

/**
 * @param {string} ask
 * @param {number} broker
 * @param {unknown} [argument]
 * @param {number} [channel]
 * @returns {Promise<any>}
 */
function call(ask, broker, argument, channel) {
  lastCall += 1;
  const id = lastCall;
  return new Promise((resolve, reject) => {
    calls.set(id, { resolve, reject });
    post({ id, ask, broker, argument, channel });
  });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A function does not travel: a backoff goes as its waits. @param {any} options */
function toTables(options) {
  const { backoff, ...ack } = options.ack ?? {};
  if (backoff === undefined) return options;
  return {
    ...options,
    ack: { ...ack, waits: Array.from({ length: waitsAsked }, (_, index) => backoff(index + 1, Math.random)) },
  };
}

/** @param {number} id */
function channelOf(id) {
  const channel = Object.assign(new EventEmitter(), {
    connected: true,
    /** @param {[batch: unknown, handle: undefined, options: undefined, done: (error: null) => void]} args */
    send: (...[batch, , , done]) => {
      post({ channel: id, batch });
      done(null);
      return true;
    },
  });
  channels.set(id, channel);
  return channel;
}

/** Has a client connected to a broker over there. @param {"open" | "again"} ask @param {number} id @param {unknown} argument */
async function connect(ask, id, argument) {
  lastChannel += 1;
  const channel = parentPort === null ? channelOf(lastChannel) : undefined;
  const port = await call(ask, id, argument, lastChannel);
  const broker = connectBroker(channel ?? port);
  await broker.ready();
  return broker;
}

/** @param {object} options */
async function open(options) {
  lastBroker += 1;
  const id = lastBroker;
  return implementation(id, await connect("open", id, toTables(options)), async () => {
    await call("close", id);
    channels.clear();
  });
}

/**
 * @param {number} id
 * @param {import("inproc-broker/worker").RemoteBroker} broker
 * @param {() => Promise<void>} dispose
 * @returns {Promise<any>}
 */
async function implementation(id, broker, dispose) {
  let letters = await call("letters", id);

  /** Both sides do what is ready: whoever is asked for a `flush` has taken, and sent, everything before it. */
  const settle = async () => {
    for (let round = 0; round < rounds; round += 1) {
      await turn();
      if (broker.state === "open") await broker.flush().catch(() => undefined);
      else await call("step", id, 0);
    }
    await turn();
  };

  const part =
    (/** @type {string} */ name) =>
    (/** @type {any[]} */ ...args) =>
      call("part", id, { part: name, args });
  // What is the broker's own is asked for over there.
  Object.defineProperties(broker, {
    deadLetters: {
      get: () => {
        if (letters.code !== undefined) throw Object.assign(new Error("refused over there"), { code: letters.code });
        return { list: part("list"), redrive: part("redrive"), purge: part("purge"), stats: () => letters.stats };
      },
    },
    replay: {
      async *value(/** @type {any[]} */ ...args) {
        yield* await part("replay")(...args);
      },
    },
  });
  const again = async (/** @type {"reopen" | "crash"} */ how) =>
    implementation(id, await connect("again", id, how), async () => undefined);

  return {
    broker,
    /** One thing that happens at a time: what it leads to happens here, too, before time moves on. @param {number} ms */
    advance: async (ms) => {
      await settle();
      let left = ms;
      do {
        ({ left, letters } = await call("step", id, left));
        await settle();
      } while (left > 0);
    },
    reopen: () => again("reopen"),
    crash: () => again("crash"),
    dispose,
  };
}

/** @type {Map<string, () => Promise<void>>} */
const cases = new Map();
conformance({
  test: (name, run) => cases.set(name, run),
  factory: open,
  stress: { seed: 5, messages: 500 },
});

/** @param {string} name */
async function run(name) {
  let result;
  try {
    const check = cases.get(name);
    if (check === undefined) throw new Error("the other side has no such case: build first");
    await check();
    result = { name, outcome: "passed" };
  } catch (error) {
    result = { name, outcome: "failed", reason: error instanceof Error ? error.message : String(error) };
  }
  post({ result });
}

/** @param {any} message */
function onMessage(message) {
  if (message.run !== undefined) void run(message.run);
  else if (message.channel !== undefined) channels.get(message.channel)?.emit("message", message.batch);
  else {
    const waiting = calls.get(message.answers);
    calls.delete(message.answers);
    if (message.error === undefined) waiting?.resolve(message.value);
    else waiting?.reject(new Error(message.error));
  }
}

if (parentPort === null) process.on("message", onMessage);
else parentPort.on("message", onMessage);
post({ up: true });
