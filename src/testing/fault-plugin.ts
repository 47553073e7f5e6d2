import type { Message, Plugin } from "../index.js";
import type { Life } from "./life.js";
import { never } from "./life.js";
import type { TrafficParts } from "./publishing.js";
import { overTheWire } from "./wire.js";

/** What strikes also needs to know. */
export interface FaultPluginParts extends TrafficParts {
  /** Whether a topic carries the broker's own messages. */
  isInternal(topic: string): boolean;
}

/** Strikes with faults, by a plugin: at publishes that the broker takes, at deliveries, and at acknowledgements. */
export class FaultPlugin {
  readonly #parts: FaultPluginParts;
  readonly #lostAcks = new WeakSet<Message>();
  readonly #byDeliveryId = new Map<string, { readonly message: Message; readonly subscription: string }>();

  constructor(parts: FaultPluginParts) {
    this.#parts = parts;
  }

  /** Forgets the deliveries that are under way. */
  clear(): void {
    this.#byDeliveryId.clear();
  }

  /** Acknowledges a delivery by its id, unless a fault loses that. */
  ackById(deliveryId: string, ack: () => Promise<void>): Promise<void> {
    const delivery = this.#byDeliveryId.get(deliveryId);
    if (delivery === undefined || !this.#loseAck(delivery.message, delivery.subscription)) return ack();
    return Promise.resolve();
  }

  /** The plugin, for one broker. */
  pluginFor(life: Life): Plugin {
    return {
      name: "test-kit",
      onPublish: (draft) => {
        const { topic } = draft;
        if (this.#parts.settings.payloads === "wire" && draft.headers["reply-failed"] === undefined) {
          draft.data = overTheWire(topic, draft.data);
        }
        if (this.#parts.faults.isEmpty || this.#parts.isInternal(topic)) return;
        const failure = this.#parts.faults.publishFailure(topic);
        if (failure !== undefined) {
          this.#parts.recorder.fault({ topic, data: draft.data }, "the publish was refused");
          throw failure.error;
        }
        draft.priority = this.#parts.faults.shuffledPriority(topic) ?? draft.priority;
      },
      onDeliver: (message, subscription) => {
        this.#parts.subscriptions.handedOver(subscription);
        if (!this.#parts.subscriptions.factsOf(subscription).acknowledges) return;
        this.#byDeliveryId.set(message.deliveryId, { message, subscription });
        // The consumer's own hand: what it calls is this object's, whoever passes it on.
        const ack = message.ack.bind(message);
        Object.defineProperty(message, "ack", {
          value: () => (this.#loseAck(message, subscription) ? Promise.resolve() : ack()),
        });
      },
      around: (message, subscription, run) => this.#around(message, subscription, run, life),
      onSettle: (message) => void this.#byDeliveryId.delete(message.deliveryId),
    };
  }

  #around(message: Message, subscription: string, run: () => unknown, life: Life): unknown {
    const { causes, ledger } = this.#parts;
    const { handlers, left } = ledger.get(message.seq)?.cause ?? { handlers: [], left: [] };
    const inContext = causes === null ? run : () => causes.run({ handlers: [...handlers, subscription], left }, run);
    if (this.#parts.settings.mode === "manual") this.#parts.subscriptions.pause(subscription);
    const cameBack = this.#parts.recorder.handlerBegins(message, subscription, life);
    let result: unknown;
    try {
      result = this.#parts.faults.isEmpty ? inContext() : this.#struck(message, subscription, inContext, life);
    } catch (error) {
      cameBack();
      throw error;
    }
    if (!isThenable(result)) {
      if (this.#losesReturn(message, subscription)) result = never();
      cameBack();
      return result;
    }
    return Promise.resolve(result).then(
      (value: unknown) => {
        const isLost = this.#losesReturn(message, subscription);
        cameBack();
        return isLost ? never() : value;
      },
      (error: unknown) => {
        cameBack();
        throw error;
      },
    );
  }

  /** Runs a handler with what the faults do to it. */
  #struck(message: Message, subscription: string, run: () => unknown, life: Life): unknown {
    const { topic } = message;
    const delayMs = this.#parts.faults.deliverDelay(topic, subscription);
    const failure = this.#parts.faults.deliverFailure(topic, subscription);
    const isTwice = this.#parts.faults.isDeliveredTwice(topic, subscription);
    const strike = (): unknown => {
      if (failure !== undefined) {
        this.#parts.recorder.fault(message, "the delivery failed", subscription);
        throw failure.error;
      }
      if (!isTwice) return run();
      this.#parts.recorder.fault(message, "delivered twice", subscription);
      return (async () => {
        await run();
        return run();
      })();
    };
    if (delayMs === 0) return strike();
    this.#parts.recorder.fault(message, `the delivery was delayed by ${delayMs} ms`, subscription);
    const state = this.#parts.ledger.get(message.seq)?.deliveries.get(subscription);
    if (state !== undefined) state.held += 1;
    return this.#parts.waits.wait(delayMs, `a fault lets a delivery of ${topic} to ${subscription} go on`).then(() => {
      if (life.isOver) return never();
      if (state !== undefined) state.held -= 1;
      return strike();
    });
  }

  /** Whether the acknowledgement that a handler's return is goes astray. */
  #losesReturn(message: Message, subscription: string): boolean {
    if (!this.#parts.subscriptions.factsOf(subscription).isAuto) return false;
    return this.#lostAcks.has(message) || this.#loseAck(message, subscription);
  }

  #loseAck(message: Message, subscription: string): boolean {
    if (this.#lostAcks.has(message)) return true;
    if (this.#parts.faults.isEmpty || !this.#parts.faults.isAckLost(message.topic, subscription)) return false;
    this.#lostAcks.add(message);
    this.#parts.recorder.ackLost(message, subscription);
    return true;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
