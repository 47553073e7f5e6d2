import type { DeadLetterReason, Decision, ErrorContext, InProcBroker, Message, Plugin } from "../index.js";
import type { AsyncContext } from "../platform/async-context.js";
import { copyOf } from "./copy.js";
import type { History, HistoryEntry, HistoryKind } from "./history.js";
import type { Cause, DeliveryOutcome, DeliveryState, Ledger, TrackedMessage } from "./ledger.js";
import type { Life } from "./life.js";

/** How a subscription of the broker acknowledges, which its deliveries do not say. */
export interface SubscriptionFacts {
  readonly isDurable: boolean;
  readonly acknowledges: boolean;
  readonly isAuto: boolean;
  readonly ackTimeoutMs: number;
}

/** What the recorder needs of the kit around it. */
export interface RecorderHost {
  readonly history: History;
  readonly ledger: Ledger;
  now(): number;
  factsOf(subscription: string): SubscriptionFacts;
  /** What leads to what happens now; null but in inline mode. */
  readonly causes: AsyncContext<Cause> | null;
  /** The consumer has nothing left to do about a delivery: it came back from it, or the message will not come. */
  left(seq: number, subscription: string): void;
}

/** Topics that answers to requests go to. */
export const inboxPrefix = "_inbox.";

/**
 * Writes the history: a plugin for what messages go through, and a listener for what plugins are not told. It decides
 * nothing, and changes nothing.
 */
export class Recorder {
  readonly #host: RecorderHost;
  /** The last time each delivery was given back, until its `redeliver` event says for how long. */
  readonly #givenBack = new Map<string, HistoryEntry>();

  /** Handlers that have not come back. */
  running = 0;

  constructor(host: RecorderHost) {
    this.#host = host;
  }

  readonly plugin: Plugin = {
    name: "test-kit-recorder",
    onPublished: (message, matched) => this.#published(message, matched),
    onScheduled: (message, deliverAt) => {
      this.#tracked(message).scheduledFor = deliverAt;
      this.#record("scheduled", message, { dueAt: deliverAt });
    },
    onDeliver: (message, subscription) => this.#delivered(message, subscription),
    onSettle: (message, decision, subscription) => this.#settled(message, decision, subscription),
    onDrop: (message, reason, subscription) => {
      const kind = reason === "expired" ? "expired" : "dropped";
      this.#end(message, subscription, reason === "expired" ? "expired" : outcomeOfDrop(reason), reason);
      this.#record(kind, message, reason === "expired" ? { subscription } : { subscription, reason });
    },
  };

  /** Listens to what plugins are not told. */
  listen(broker: InProcBroker<never>, life: Life): void {
    const on: typeof broker.on = (name, listener) =>
      broker.on(name, ((...facts: never[]) => {
        if (!life.isOver) (listener as (...all: never[]) => void)(...facts);
      }) as typeof listener);
    on("expire", ({ message, subscription }) => {
      if (subscription !== undefined) return;
      const tracked = this.#tracked(message);
      tracked.scheduledFor = undefined;
      tracked.matched = 0;
      this.#record("expired", message, {});
    });
    on("dead-letter", ({ message, reason, subscription, error }) => {
      const outcome = outcomeOfLetter(reason);
      const tracked = this.#host.ledger.get(message.seq);
      if (tracked !== undefined) this.#finish(tracked, this.#stateOf(tracked, subscription), outcome, error ?? reason);
      this.#record("deadLettered", message as Message, {
        subscription,
        reason,
        ...(error === undefined ? {} : { error }),
      });
    });
    on("redeliver", ({ message, subscription, delay, reason, deliveryCount }) => {
      const state = this.#stateOf(this.#tracked(message), subscription);
      state.where = "in backoff";
      state.dueAt = this.#host.now() + delay;
      state.reason = reason;
      const entry =
        this.#givenBack.get(keyOf(message, subscription)) ??
        this.#record("nacked", message, { subscription, deliveryCount });
      this.#givenBack.delete(keyOf(message, subscription));
      this.#host.history.amend(entry, { delay, ...(reason === undefined ? {} : { reason }) });
    });
    on("error", (error, context) => this.#failed(error, context));
  }

  /** A scheduled message was taken back. */
  cancelled(id: string): void {
    const tracked = this.#host.ledger.byId(id);
    if (tracked === undefined) return;
    tracked.scheduledFor = undefined;
    tracked.matched = 0;
    const { seq, topic } = tracked;
    this.#host.history.add({
      ...noMessage,
      kind: "cancelled",
      at: this.#host.now(),
      id,
      seq,
      topic,
      data: tracked.data,
    });
  }

  /** The broker has ended: its handlers do not come back. */
  end(): void {
    this.#givenBack.clear();
    this.running = 0;
  }

  /** Something happened that concerns no message. */
  event(kind: "fault" | "crashed" | "restarted", reason: string): HistoryEntry {
    return this.#host.history.add({ ...noMessage, kind, at: this.#host.now(), reason });
  }

  /** The kit did something to a message that the test asked for. */
  fault(message: Pick<Message, "topic"> & Partial<Message>, reason: string, subscription?: string): void {
    const { topic, id = "", seq = 0, key, headers = noMessage.headers, priority = 4 } = message;
    const data = this.#host.ledger.get(seq)?.data ?? copyOf(message.data);
    this.#host.history.add({
      kind: "fault",
      at: this.#host.now(),
      topic,
      id,
      seq,
      key,
      headers,
      priority,
      data,
      reason,
      ...(subscription === undefined ? {} : { subscription }),
    });
  }

  /** A fault swallowed an acknowledgement. */
  ackLost(message: Message, subscription: string): void {
    this.#stateOf(this.#tracked(message), subscription).isAckLost = true;
    this.fault(message, "the acknowledgement was lost", subscription);
  }

  /** A handler begins to work on a message. The returned function says that it has come back. */
  handlerBegins(message: Message, subscription: string, life: Life): () => void {
    const state = this.#stateOf(this.#tracked(message), subscription);
    state.running += 1;
    this.running += 1;
    return () => {
      if (life.isOver) return;
      state.running -= 1;
      this.running -= 1;
      this.#host.left(message.seq, subscription);
    };
  }

  #published(message: Message, matched: number): void {
    const tracked = this.#tracked(message);
    tracked.scheduledFor = undefined;
    tracked.matched = matched;
    if (message.topic.startsWith(inboxPrefix)) this.#record("replied", message, {});
    else this.#record("published", message, { matched });
  }

  #delivered(message: Message, subscription: string): void {
    const { deliveryCount } = message;
    const state = this.#stateOf(this.#tracked(message), subscription);
    const { acknowledges, ackTimeoutMs } = this.#host.factsOf(subscription);
    state.attempts = Math.max(state.attempts, deliveryCount);
    state.isAckLost = false;
    state.where = acknowledges ? "in flight" : "done";
    state.dueAt = acknowledges ? this.#host.now() + ackTimeoutMs : Infinity;
    if (!acknowledges) state.outcome = "delivered";
    this.#record("delivered", message, { subscription, deliveryCount });
  }

  #settled(message: Message, decision: Decision, subscription: string): void {
    const { deliveryCount } = message;
    if (decision === "ack") {
      this.#end(message, subscription, "acked", undefined);
      this.#record("acked", message, { subscription, deliveryCount });
    } else if (decision === "reject") {
      this.#record("rejected", message, { subscription, deliveryCount });
    } else {
      const reason = decision === "timeout" ? { reason: "ack timeout" } : {};
      const entry = this.#record("nacked", message, { subscription, deliveryCount, ...reason });
      this.#givenBack.set(keyOf(message, subscription), entry);
    }
  }

  #failed(error: unknown, { during, subscription, message }: ErrorContext): void {
    const facts = { error, reason: during, ...(subscription === undefined ? {} : { subscription }) };
    if (message === undefined) {
      this.#host.history.add({ ...noMessage, kind: "error", at: this.#host.now(), ...facts });
      return;
    }
    this.#record("error", message, facts);
    if (during !== "handler" || subscription === undefined) return;
    const state = this.#host.ledger.get(message.seq)?.deliveries.get(subscription);
    if (state?.outcome === "delivered") state.outcome = "failed";
  }

  #end(message: Message, subscription: string, outcome: DeliveryOutcome, reason: string | undefined): void {
    const tracked = this.#tracked(message);
    this.#finish(tracked, this.#stateOf(tracked, subscription), outcome, reason);
  }

  #finish(tracked: TrackedMessage, state: DeliveryState, outcome: DeliveryOutcome, reason: string | undefined): void {
    state.where = "done";
    state.outcome = outcome;
    state.reason = reason;
    state.dueAt = Infinity;
    this.#givenBack.delete(`${tracked.seq} ${state.subscription}`);
    this.#host.left(tracked.seq, state.subscription);
  }

  #tracked(message: Message): TrackedMessage {
    const { ledger, causes } = this.#host;
    return ledger.get(message.seq) ?? ledger.add(message, copyOf(message.data), causes?.get() ?? null);
  }

  #stateOf(tracked: TrackedMessage, subscription: string): DeliveryState {
    let state = tracked.deliveries.get(subscription);
    if (state === undefined) {
      state = {
        subscription,
        where: "done",
        outcome: undefined,
        attempts: 0,
        reason: undefined,
        isAckLost: false,
        running: 0,
        held: 0,
        dueAt: Infinity,
      };
      tracked.deliveries.set(subscription, state);
    }
    return state;
  }

  #record(kind: HistoryKind, message: Message, facts: Partial<HistoryEntry>): HistoryEntry {
    const { topic, headers, key, priority } = message;
    const { data, id, seq } = this.#tracked(message);
    return this.#host.history.add({
      kind,
      at: this.#host.now(),
      topic,
      data,
      id,
      seq,
      headers,
      key,
      priority,
      ...facts,
    });
  }
}

const noMessage = {
  topic: "",
  data: undefined,
  id: "",
  seq: 0,
  headers: Object.freeze({}),
  key: undefined,
  priority: 4,
};

/** What expired or was dropped is that, also where it is kept as a dead letter. */
function outcomeOfLetter(reason: DeadLetterReason): DeliveryOutcome {
  if (reason === "expired" || reason === "rejected") return reason;
  return reason === "overflow" ? "dropped" : "dead";
}

function outcomeOfDrop(reason: string): DeliveryOutcome {
  if (reason === "rejected") return "rejected";
  return reason === "max-deliveries" ? "dead" : "dropped";
}

function keyOf(message: Message, subscription: string): string {
  return `${message.seq} ${subscription}`;
}
