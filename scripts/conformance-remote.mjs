// @ts-check
/**
 * Runs the cases of the conformance suite on a client of a broker: the cases and the client in a worker thread or a child process
 * (`conformance-client.mjs`), the broker and its clock here.
 *
 * @typedef {{ name: string, outcome: string, reason?: string }} Outcome
 * @typedef {{ id: number, ask: string, broker: number, argument?: any }} Call
 */
import { fork } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { InProcBroker } from "inproc-broker";
import { VirtualClock } from "inproc-broker/testing";
import { exposeBroker } from "inproc-broker/worker";

const script = new URL("./conformance-client.mjs", import.meta.url);

const notBroker = "not part of the interface Broker";
const clientsClose = "a client's close ends the client, and leaves what is the broker's with the broker";

/** What a client does not do, and why. */
export const remoteSupports = {
  filters: "a filter is called while publishing, in the broker's thread",
  sync: notBroker,
  cancel: notBroker,
  transactions: notBroker,
  "dead-letters": notBroker,
  idle: notBroker,
  counters: notBroker,
  timers: "timers are the broker's, in its thread",
  durables: "no store",
  replay: "no store",
  crash: "no store",
};

/** Single cases that say something else of a client. */
export const remoteExcept = {
  "reports: report: the receipt tells what became of the message in each subscription": "it needs a filter",
  "retained: retained() lists them": notBroker,
  "close: close returns what it could not finish in time": clientsClose,
  "close: close without drain does not wait": clientsClose,
  "close: a repeated close answers the same": clientsClose,
};

/** Brokers that clients elsewhere ask for, each on a clock of its own that they move. */
class Brokers {
  /** @type {Map<number, { broker: InProcBroker, clock: VirtualClock, handle: import("inproc-broker/worker").ExposedBroker }>} */
  #open = new Map();

  /**
   * @param {number} id
   * @param {any} options functions in it as tables
   * @param {import("inproc-broker/worker").ExposeTarget} target
   */
  open(id, options, target) {
    const clock = new VirtualClock();
    const broker = new InProcBroker({ ...fromTables(options), clock });
    broker.on("error", () => undefined);
    this.#open.set(id, { broker, clock, handle: exposeBroker(broker, target) });
  }

  /**
   * Moves a clock on, to the next timer or by so many milliseconds. Returns how many are left, and how many timers.
   *
   * @param {number} id
   * @param {number} ms
   */
  async step(id, ms) {
    const { clock } = this.#get(id);
    const next = clock.pending()[0]?.inMs ?? Infinity;
    const step = Math.min(ms, next);
    await clock.advance(step);
    return { left: ms - step, timers: clock.pending().length };
  }

  /** @param {number} id */
  async close(id) {
    const { broker, handle } = this.#get(id);
    this.#open.delete(id);
    await handle.close();
    await broker.close({ drain: false });
  }

  /** @param {number} id */
  #get(id) {
    const open = this.#open.get(id);
    if (open === undefined) throw new Error(`there is no broker ${id}`);
    return open;
  }
}

/** Functions do not travel: a backoff comes as its waits.
 * @param {any} options
 */
function fromTables(options) {
  const { waits, ...ack } = options.ack ?? {};
  if (waits === undefined) return options;
  return {
    ...options,
    ack: { ...ack, backoff: (/** @type {number} */ count) => waits[Math.min(count, waits.length) - 1] },
  };
}

/** One of many channels over the IPC of a child process, as it is the interface between the two. */
class Channel extends EventEmitter {
  connected = true;
  /** @type {(message: unknown) => void} */
  #post;

  /** @param {(message: unknown) => void} post */
  constructor(post) {
    super();
    this.#post = post;
  }

  /**
   * @param {unknown} message
   * @param {undefined} _handle
   * @param {undefined} _options
   * @param {(error: Error | null) => void} done
   */
  send(message, _handle, _options, done) {
    this.#post(message);
    done(null);
    return true;
  }
}

/** @param {string} name @param {string} reason */
const failed = (name, reason) => ({ name, outcome: "failed", reason });

/**
 * Starts the other side.
 *
 * @param {"thread" | "process"} kind
 */
export async function startRemote(kind) {
  const brokers = new Brokers();
  /** @type {Map<number, Channel>} */
  const channels = new Map();
  /** @type {Map<string, (result: Outcome) => void>} */
  const running = new Map();
  const isThread = kind === "thread";
  const peer = isThread ? new Worker(script) : fork(script, { serialization: "advanced", execArgv: [] });
  /** @param {any} message @param {any[]} [transfer] */
  const post = (message, transfer = []) => {
    if (peer instanceof Worker) peer.postMessage(message, transfer);
    else peer.send(message);
  };

  /** @param {Call} call */
  const carryOut = async ({ id, ask, broker, argument }) => {
    if (ask === "step") post({ answers: id, value: await brokers.step(broker, argument) });
    else if (ask === "close") {
      await brokers.close(broker);
      channels.delete(broker);
      post({ answers: id });
    } else if (isThread) {
      const { port1, port2 } = new MessageChannel();
      brokers.open(broker, argument, port1);
      post({ answers: id, value: port2 }, [port2]);
    } else {
      const channel = new Channel((batch) => post({ channel: broker, batch }));
      channels.set(broker, channel);
      brokers.open(broker, argument, channel);
      post({ answers: id });
    }
  };

  peer.on("message", (/** @type {any} */ message) => {
    if (message.ask !== undefined) {
      carryOut(message).catch((/** @type {unknown} */ error) => post({ answers: message.id, error: String(error) }));
    } else if (message.channel !== undefined) channels.get(message.channel)?.emit("message", message.batch);
    else if (message.result !== undefined) running.get(message.result.name)?.(message.result);
  });
  const exit = once(peer, "exit");
  let hasEnded = false;
  void exit.then(([code]) => {
    hasEnded = true;
    for (const [name, done] of running) done(failed(name, `the other side has ended, with ${code}`));
  });
  await once(peer, "message");

  return {
    /**
     * Runs a case there; rejects with what it says where it fails.
     *
     * @param {string} name
     */
    async run(name) {
      const result = await new Promise((resolve) => {
        running.set(name, resolve);
        if (hasEnded) resolve(failed(name, "the other side has ended"));
        else post({ run: name });
      });
      running.delete(name);
      if (result.outcome === "failed") throw new Error(result.reason);
    },
    async stop() {
      if (peer instanceof Worker) await peer.terminate();
      else peer.kill();
      await exit;
    },
  };
}
