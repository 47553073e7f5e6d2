import type { Message } from "../index.js";
import type { RemoteMessage } from "./wire-message.js";

/** What a taker needs of the subscription it works for. */
export interface TakerHost {
  readonly acknowledges: boolean;
  /** Acknowledges what its handler has succeeded with; undefined: the consumer decides. */
  readonly isAuto: boolean;
  readonly ackTimeoutMs: number;
  /** Grants the broker's side so many deliveries more (fewer where negative). */
  grant(credits: number): void;
  /** The handler has succeeded with it. */
  succeeded(message: RemoteMessage): void;
  /** The handler threw. */
  failed(message: RemoteMessage, error: unknown): void;
  /** Still wanted: its time starts again. */
  keep(messages: readonly RemoteMessage[]): void;
  /** Sends what is written at once: this thread will be busy. */
  flush(): void;
  /** Nothing waits or runs. */
  quiet(): void;
}

/** What takes a subscription's deliveries in a client: a handler that they are pushed into, or whoever asks. */
export interface Taker {
  /** Credits to begin with. */
  readonly firstCredits: number;
  /** Deliveries that came and that nobody has begun with. */
  readonly waiting: number;
  /** True where none waits and none is being worked on. */
  readonly isQuiet: boolean;
  /** How the broker acknowledges is known from here on. */
  begin(host: TakerHost): void;
  receive(message: RemoteMessage, at: number): void;
  /** What came with one batch has been received. */
  batchEnded(): void;
  /** A delivery was taken back. */
  lost(message: RemoteMessage): void;
  setPaused(isPaused: boolean): void;
  /** Takes no more; what waits is dropped. */
  end(error: unknown): void;
  /** Deliveries a handler works on, or that wait for one. */
  held(): Iterable<Message>;
}
