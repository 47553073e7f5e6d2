// @ts-check
/**
 * Runs the cases of the conformance suite on a client of a broker: the cases and the client in a worker thread or a child process
 * (`conformance-client.mjs`), the broker and its clock here.
 *
 * @typedef {{ name: string, outcome: string, reason?: string }} Outcome
 * @typedef {{ id: number, ask: string, broker: number, channel: number, argument?: any }} Call
 */
import { fork } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { InProcBroker, messageRecord } from "inproc-broker";
import { VirtualClock } from "inproc-broker/testing";
import { exposeBroker } from "inproc-broker/worker";
import { openStored } from "./conformance-store.mjs";

const script = new URL("./conformance-client.mjs", import.meta.url);

const notBroker = "not part of the interface Broker";
const clientsClose = "a client's close ends the client, and leaves what is the broker's with the broker";

/** What a client does not do, and why. Dead letters and replay are asked for in the broker's thread. */
export const remoteStoreSupports = {
  filters: "a filter is called while publishing, in the broker's thread",
  sync: notBroker,
  cancel: notBroker,
  transactions: notBroker,
  idle: notBroker,
  counters: notBroker,
  timers: "timers are the broker's, in its thread",
};

/** The same of a broker without a store. */
export const remoteSupports = { ...remoteStoreSupports, durables: "no store", replay: "no store", crash: "no store" };

/** Single cases that say something else of a client. */
export const remoteExcept = {
  "reports: report: the receipt tells what became of the message in each subscription": "it needs a filter",
  "retained: retained() lists them": notBroker,
  "crash: a committed transaction is there as a whole, an open one not at all": notBroker,
  "close: close returns what it could not finish in time": clientsClose,
  "close: close without drain does not wait": clientsClose,
  "close: a repeated close answers the same": clientsClose,
};

/**
 * A broker on a clock that the other side moves, and what ends it, by a crash too where it has a store.
 *
 * @typedef {{
 *   broker: InProcBroker, clock: Pick<VirtualClock, "runNext" | "monotonic">, end: () => Promise<unknown>,
 *   again?: (how: "reopen" | "crash") => Promise<InProcBroker>,
 * }} House
 */

/** @param {any} options @returns {House} */
function openInMemory(options) {
  const clock = new VirtualClock();
  const broker = new InProcBroker({ ...options, clock });
  return { broker, clock, end: () => broker.close({ drain: false }) };
}

/** Brokers that clients elsewhere ask for. */
class Brokers {
  /** @type {Map<number, House & { handle: import("inproc-broker/worker").ExposedBroker }>} */
  #open = new Map();
  #hasStore;

  /** @param {boolean} hasStore */
  constructor(hasStore) {
    this.#hasStore = hasStore;
  }

  /**
   * @param {number} id
   * @param {any} options functions in it as tables
   * @param {import("inproc-broker/worker").ExposeTarget} target
   */
  async open(id, options, target) {
    const given = fromTables(options);
    this.#expose(id, this.#hasStore ? await openStored(given) : openInMemory(given), target);
  }

  /**
   * Ends a broker, and opens it again over its store.
   *
   * @param {number} id
   * @param {"reopen" | "crash"} how
   * @param {import("inproc-broker/worker").ExposeTarget} target
   */
  async again(id, how, target) {
    const { handle, ...house } = this.#get(id);
    const broker = await house.again?.(how);
    if (broker === undefined) throw new Error("there is no store");
    await handle.close();
    this.#expose(id, { ...house, broker }, target);
  }

  /**
   * Moves a clock on, to what happens next or by so many milliseconds. Returns how many are left.
   *
   * @param {number} id
   * @param {number} ms
   */
  async step(id, ms) {
    const { clock } = this.#get(id);
    const before = clock.monotonic();
    await clock.runNext(ms);
    return { left: ms - (clock.monotonic() - before), letters: await this.letters(id) };
  }

  /** Figures of the dead letters, or what they are refused with. @param {number} id */
  async letters(id) {
    const { broker } = this.#get(id);
    try {
      return { stats: broker.deadLetters.stats() };
    } catch (error) {
      return { code: /** @type {any} */ (error).code };
    }
  }

  /**
   * What a case asks of the broker that a client does not have.
   *
   * @param {number} id
   * @param {{ part: string, args: any[] }} asked
   */
  async ask(id, { part, args }) {
    const { broker } = this.#get(id);
    if (part === "replay") {
      const messages = [];
      for await (const message of broker.replay(args[0], args[1])) messages.push(messageRecord(message));
      return messages;
    }
    const answer = await /** @type {any} */ (broker.deadLetters)[part](...args);
    if (part !== "list") return answer;
    const items = answer.items.map((/** @type {any} */ one) => ({ ...one, message: messageRecord(one.message) }));
    return { items, cursor: answer.cursor };
  }

  /** @param {number} id */
  async close(id) {
    const { end, handle } = this.#get(id);
    this.#open.delete(id);
    await handle.close();
    await end();
  }

  /** @param {number} id @param {House} house @param {import("inproc-broker/worker").ExposeTarget} target */
  #expose(id, house, target) {
    house.broker.on("error", () => undefined);
    this.#open.set(id, { ...house, handle: exposeBroker(house.broker, target) });
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
 * @param {{ hasStore?: boolean }} [options] hasStore: its brokers are on LevelDB; default in memory
 */
export async function startRemote(kind, { hasStore = false } = {}) {
  const brokers = new Brokers(hasStore);
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

  /** Has a broker exposed to a new client. @param {Call} call @param {(target: any) => Promise<void>} expose */
  const connect = async ({ id, channel }, expose) => {
    if (isThread) {
      const { port1, port2 } = new MessageChannel();
      await expose(port1);
      post({ answers: id, value: port2 }, [port2]);
    } else {
      const end = new Channel((batch) => post({ channel, batch }));
      channels.set(channel, end);
      await expose(end);
      post({ answers: id });
    }
  };

  /** @param {Call} call */
  const carryOut = async (call) => {
    const { id, ask, broker, argument } = call;
    if (ask === "open") await connect(call, (target) => brokers.open(broker, argument, target));
    else if (ask === "again") await connect(call, (target) => brokers.again(broker, argument, target));
    else if (ask === "step") post({ answers: id, value: await brokers.step(broker, argument) });
    else if (ask === "letters") post({ answers: id, value: await brokers.letters(broker) });
    else if (ask === "part") post({ answers: id, value: await brokers.ask(broker, argument) });
    else {
      await brokers.close(broker);
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
