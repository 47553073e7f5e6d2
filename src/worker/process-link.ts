import { deserializeBrokerError } from "../index.js";
import type { Link, LinkListener } from "./link.js";
import { batchTag } from "./protocol.js";

/** What both ends of an IPC channel have: `process` in the child, the ChildProcess in the parent. */
export interface IpcChannel {
  /** True until the channel is closed. */
  readonly connected?: boolean;
  /** Sends a message. */
  send?(message: unknown, sendHandle: undefined, options: undefined, callback: (error: Error | null) => void): boolean;
  /** Listens to messages. */
  on(event: "message", listener: (message: unknown) => void): unknown;
  /** Listens to the end of the channel. */
  on(event: "disconnect", listener: () => void): unknown;
  /** Stops listening. */
  off(event: string, listener: (message: unknown) => void): unknown;
}

/**
 * A link over the IPC channel of a child process, which it shares with the program's own messages. Closing it leaves the
 * channel open. It needs `serialization: "advanced"`; buffers are copied.
 */
export class ProcessLink implements Link {
  readonly #channel: IpcChannel;
  #stop: () => void = () => undefined;
  #isClosed = false;

  constructor(channel: IpcChannel) {
    if (typeof channel.send !== "function") {
      throw deserializeBrokerError({
        code: "ERR_INVALID_OPTION",
        message: "this process has no IPC channel; start it with child_process.fork or cluster.fork",
        facts: { option: "channel" },
      });
    }
    this.#channel = channel;
  }

  start(listener: LinkListener): void {
    const onMessage = (batch: unknown): void => {
      if (Array.isArray(batch) && batch[0] === batchTag) listener.batch(batch);
    };
    const onDisconnect = (): void => {
      if (this.#isClosed) return;
      this.close();
      listener.closed();
    };
    this.#channel.on("message", onMessage);
    this.#channel.on("disconnect", onDisconnect);
    this.#stop = () => {
      this.#channel.off("message", onMessage);
      this.#channel.off("disconnect", onDisconnect);
    };
  }

  send(batch: readonly unknown[]): void {
    if (this.#isClosed || this.#channel.connected === false) return;
    // A failed write means that the other side has gone, which `disconnect` tells.
    this.#channel.send?.(batch, undefined, undefined, () => undefined);
  }

  /** The listener holds the channel; there is no way to share that with the program's own listeners. */
  hold(): void {
    // Nothing to do.
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stop();
  }
}
