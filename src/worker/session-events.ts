import type { Broker, BrokerEventName } from "../index.js";
import type { Allow } from "./allow-list.js";
import { mayHear } from "./allow-list.js";
import type { FrameWriter } from "./frame-writer.js";
import { eventWindow, tell } from "./protocol.js";
import { toWireArgument } from "./wire-message.js";

/** Sends the broker's events to a client that listens, so many ahead of it, less those about messages that it may not see. */
export class SessionEvents {
  readonly #broker: Broker;
  readonly #allow: Allow;
  readonly #writer: FrameWriter;
  readonly #stop = new Map<BrokerEventName, () => void>();
  #credits = eventWindow;
  /** Events that the client was too slow for. */
  dropped = 0;

  constructor(broker: Broker, allow: Allow, writer: FrameWriter) {
    this.#broker = broker;
    this.#allow = allow;
    this.#writer = writer;
  }

  grant(credits: number): void {
    this.#credits += credits;
  }

  forward(name: BrokerEventName, isWanted: boolean): void {
    this.#stop.get(name)?.();
    this.#stop.delete(name);
    if (!isWanted) return;
    const broker = this.#broker;
    const listener = (...args: readonly unknown[]): void => {
      if (!args.every((arg) => mayHear(this.#allow, arg))) return;
      if (this.#credits <= 0) {
        this.dropped += 1;
        return;
      }
      this.#credits -= 1;
      this.#writer.write([tell.event, name, args.map(toWireArgument)]);
    };
    broker.on(name, listener);
    this.#stop.set(name, () => broker.off(name, listener));
  }

  end(): void {
    for (const stop of this.#stop.values()) stop();
    this.#stop.clear();
  }
}
