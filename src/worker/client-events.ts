import type { BrokerEventName, BrokerEvents, BrokerListener } from "../index.js";
import type { FrameWriter } from "./frame-writer.js";
import { ask } from "./protocol.js";
import { brokerError } from "./wire-error.js";
import type { RemoteOrigin, WireArgument } from "./wire-message.js";
import { fromWireArgument } from "./wire-message.js";

type Listener = (...args: never[]) => void;

/** Events read after which the broker's side may send as many more. */
const confirmedEvents = 256;

/** The listeners of a client: to the broker's events, and to those that it has of its own. */
export class ClientEvents {
  readonly #writer: FrameWriter;
  /** Whose the messages in events are: for reading. */
  readonly #origin: RemoteOrigin;
  readonly #listeners = new Map<BrokerEventName, Map<Listener, Listener>>();
  #isClosed = false;
  #eventsRead = 0;

  constructor(writer: FrameWriter, origin: RemoteOrigin) {
    this.#writer = writer;
    this.#origin = origin;
  }

  on<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): void {
    if (typeof listener !== "function") {
      throw brokerError("ERR_INVALID_OPTION", `a listener for ${JSON.stringify(name)} must be a function`);
    }
    this.#listen(name, listener as Listener, listener as Listener);
  }

  once<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): void {
    const once: Listener = (...args) => {
      this.off(name, listener);
      (listener as Listener)(...args);
    };
    this.#listen(name, listener as Listener, once);
  }

  off<Name extends BrokerEventName>(name: Name, listener: BrokerListener<Name>): void {
    const listeners = this.#listeners.get(name);
    if (listeners?.delete(listener as Listener) === true && listeners.size === 0) {
      this.#listeners.delete(name);
      if (!this.#isClosed && isForwarded(name)) this.#writer.write([ask.event, name, false]);
    }
  }

  /** The broker has told an event. */
  told(name: BrokerEventName, args: readonly WireArgument[]): void {
    this.#eventsRead += 1;
    if (this.#eventsRead >= confirmedEvents) {
      this.#writer.write([ask.eventCredit, this.#eventsRead]);
      this.#eventsRead = 0;
    }
    this.emit(
      name,
      args.map((arg) => fromWireArgument(arg, this.#origin)),
    );
  }

  /** Calls the listeners. Returns whether there are any. */
  emit(name: BrokerEventName, args: readonly unknown[]): boolean {
    const listeners = [...(this.#listeners.get(name)?.values() ?? [])];
    for (const called of listeners) {
      try {
        called(...(args as never[]));
      } catch (error) {
        if (name === "error") warn(error);
        else this.tellError(error, { during: "listener" });
      }
    }
    return listeners.length > 0;
  }

  /** What failed with nobody to answer to. */
  tellError(error: unknown, context: BrokerEvents["error"][1]): void {
    if (this.#isClosed) return;
    if ((this.#listeners.get("error")?.size ?? 0) > 0) this.emit("error", [error, context]);
    else warn(error);
  }

  /** The client has closed: that is told, and nothing after it. */
  end(): void {
    this.#isClosed = true;
    this.emit("closed", []);
    this.#listeners.clear();
  }

  #listen(name: BrokerEventName, listener: Listener, called: Listener): void {
    let listeners = this.#listeners.get(name);
    if (listeners === undefined) {
      listeners = new Map();
      this.#listeners.set(name, listeners);
      if (!this.#isClosed && isForwarded(name)) this.#writer.write([ask.event, name, true]);
    }
    listeners.set(listener, called);
  }
}

/** Every event comes from the broker but those a client has of its own. */
function isForwarded(name: BrokerEventName): boolean {
  return name !== "closed" && name !== "error";
}

function warn(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.emitWarning(`a handler threw, and nobody listens for the client's "error" event: ${text}`, {
    type: "InProcBrokerWarning",
    code: "INPROC_BROKER_UNHEARD_ERROR",
  });
}
