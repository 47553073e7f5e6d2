import { randomBytes } from "node:crypto";
import process from "node:process";
import { MessagePort, parentPort } from "node:worker_threads";
import type { AnyTopics } from "../index.js";
import { MessagePortLink } from "./message-port-link.js";
import type { IpcChannel } from "./process-link.js";
import { ProcessLink } from "./process-link.js";
import type { Greeting } from "./protocol.js";
import { RemoteBroker } from "./remote-broker.js";
import { brokerError } from "./wire-error.js";

/** How to connect. */
export interface ConnectOptions {
  /** Milliseconds until the broker must have answered; default 30,000. Then everything is rejected with `ERR_TIMEOUT`. */
  readonly timeout?: number;
}

/**
 * Connects to the broker that another thread or process exposes with `exposeBroker`.
 *
 * Returns at once: what is asked before the broker has answered waits for it, and `ready()` resolves when it has.
 * Without a port it is the parent's broker: over a port of its own in a worker thread, so that `parentPort` stays the
 * program's, and over the IPC channel in a child process. Several clients may connect from one thread.
 *
 * Throws `ERR_INVALID_OPTION` where there is neither a port nor a parent.
 *
 * @example
 * ```ts
 * import { connectBroker } from "inproc-broker/worker";
 *
 * await using broker = connectBroker();
 * broker.subscribe("images.*", async (msg) => resize(msg.data), { group: "resizers" });
 * ```
 */
export function connectBroker<Topics = AnyTopics>(
  port?: MessagePort | IpcChannel,
  options: ConnectOptions = {},
): RemoteBroker<Topics> {
  const { timeout = 30_000 } = options;
  if (typeof timeout !== "number" || !(timeout > 0)) {
    throw brokerError("ERR_INVALID_OPTION", "option timeout must be more than 0 milliseconds", { option: "timeout" });
  }
  const id = `client-${randomBytes(5).toString("hex")}`;
  const broker = new RemoteBroker<Topics>(id);
  let timer: NodeJS.Timeout | undefined;
  let stop = (): void => undefined;
  const finish = (): void => {
    clearTimeout(timer);
    stop();
  };
  if (port instanceof MessagePort) broker.attach(new MessagePortLink(port), finish);
  else if (port !== undefined) broker.attach(new ProcessLink(port), finish);
  else if (parentPort !== null) stop = greet(broker as RemoteBroker, parentPort, id, finish);
  else if (typeof process.send === "function") broker.attach(new ProcessLink(process), finish);
  else {
    throw brokerError(
      "ERR_INVALID_OPTION",
      "connectBroker needs a port here: this is neither a worker thread nor a child process with an IPC channel",
      { option: "port" },
    );
  }
  if (timeout !== Infinity) {
    timer = setTimeout(
      () => {
        broker.fail(
          brokerError(
            "ERR_TIMEOUT",
            `no broker answered within ${timeout} ms; the other side calls exposeBroker(broker, worker)`,
            { timeout },
          ),
        );
      },
      Math.min(timeout, 2 ** 31 - 1),
    );
  }
  broker.ready().then(finish, finish);
  return broker;
}

/**
 * Asks the parent for a port, now and when it says that it listens, and attaches it. Returns what ends that.
 *
 * The parent may expose its broker before or after, and what it does not listen for is lost; so whoever is second is heard.
 */
function greet(broker: RemoteBroker, parent: MessagePort, id: string, onClosed: () => void): () => void {
  const connect: Greeting = { inprocBroker: "connect", client: id };
  const onMessage = (message: unknown): void => {
    const greeting = message as Partial<Greeting> | null;
    if (greeting?.inprocBroker === "exposed") parent.postMessage(connect);
    if (greeting?.inprocBroker !== "port" || greeting.client !== id || greeting.port === undefined) return;
    stop();
    broker.attach(new MessagePortLink(greeting.port), onClosed);
  };
  // Listening keeps the thread alive, until the port does as far as it has to.
  const stop = (): void => void parent.off("message", onMessage);
  parent.on("message", onMessage);
  parent.postMessage(connect);
  return stop;
}
