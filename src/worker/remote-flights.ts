import { NumberedItems } from "./numbered-items.js";
import { ask } from "./protocol.js";
import type { WireDecision } from "./protocol.js";
import type { RemoteMessage } from "./wire-message.js";

/** What the deliveries of a subscription need of its client. */
export interface FlightsHost {
  readonly id: string;
  write(frame: readonly unknown[]): void;
  call(frame: (call: number) => readonly unknown[]): Promise<unknown>;
  /** A delivery was taken back. */
  lost(deliveryId: string): void;
}

/**
 * The deliveries of one subscription of a client that nobody has decided, by number. What handlers have succeeded with is told in one frame
 * for each turn; what a consumer decides itself is a call, and answered.
 */
export class RemoteFlights {
  readonly #host: FlightsHost;
  readonly #subscription: number;
  readonly #flights = new NumberedItems<RemoteMessage>();
  #acks: number[] = [];
  #isAckArmed = false;
  #isClosed = false;
  /** Deliveries acknowledged, and given back. */
  acked = 0;
  nacked = 0;

  constructor(host: FlightsHost, subscription: number) {
    this.#host = host;
    this.#subscription = subscription;
  }

  get size(): number {
    return this.#flights.size;
  }

  all(): RemoteMessage[] {
    return [...this.#flights].map(([, message]) => message);
  }

  get(number: number): RemoteMessage | undefined {
    return this.#flights.get(number);
  }

  add(message: RemoteMessage): void {
    this.#flights.add(message.number, message);
  }

  idOf(message: RemoteMessage): string {
    return `${this.#host.id}/${this.#subscription}/${message.number}`;
  }

  /** Its handler has succeeded. */
  succeeded(message: RemoteMessage): void {
    message.state = "settled";
    this.#flights.take(message.number);
    if (this.#isClosed) return;
    this.acked += 1;
    this.#acks.push(message.number);
    if (this.#isAckArmed) return;
    this.#isAckArmed = true;
    queueMicrotask(() => this.sendAcks());
  }

  /** Its handler has failed. */
  failed(message: RemoteMessage, reason: string): void {
    this.nacked += 1;
    message.state = "settled";
    this.#flights.take(message.number);
    if (!this.#isClosed) this.#host.write([ask.failed, this.#subscription, message.number, reason]);
  }

  /** Decides it as its consumer asks; resolves once the broker has. The rejection may be left unawaited. */
  decide(message: RemoteMessage, decision: WireDecision, argument: unknown): Promise<void> {
    const decided = this.#decide(message, decision, argument);
    decided.catch(() => undefined);
    return decided;
  }

  /** It was taken back. */
  lose(message: RemoteMessage): void {
    this.#flights.take(message.number);
    this.#host.lost(this.idOf(message));
    message.lose();
  }

  /** Tells what handlers have succeeded with. */
  sendAcks(): void {
    this.#isAckArmed = false;
    const acks = this.#acks;
    if (acks.length === 0) return;
    this.#acks = [];
    if (!this.#isClosed) this.#host.write([ask.acks, this.#subscription, acks.length, ...acks]);
  }

  /** The subscription is over: what is decided is told, and nothing after it. What was not is lost. */
  close(): void {
    this.sendAcks();
    this.#isClosed = true;
  }

  async #decide(message: RemoteMessage, decision: WireDecision, argument: unknown): Promise<void> {
    const isFinal = decision !== "extend";
    if (isFinal) message.state = "settling";
    try {
      await this.#host.call((call) => [ask.settle, call, this.#subscription, message.number, decision, argument]);
      if (!isFinal) return;
      if (decision === "ack") this.acked += 1;
      else if (decision === "nack") this.nacked += 1;
      message.state = "settled";
      this.#flights.take(message.number);
    } catch (error) {
      if (isFinal && message.state === "settling") this.#undecided(message, (error as { code?: unknown }).code);
      throw error;
    }
  }

  /** The broker has refused the decision. */
  #undecided(message: RemoteMessage, code: unknown): void {
    if (code === "ERR_DELIVERY_EXPIRED") this.lose(message);
    else if (code === "ERR_ALREADY_SETTLED") {
      this.#flights.take(message.number);
      message.state = "settled";
    } else message.state = "inFlight";
  }
}
