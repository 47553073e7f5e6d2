import { ChildProcess } from "node:child_process";
import { MessageChannel, MessagePort, Worker } from "node:worker_threads";
import type { WorkerLostEvent } from "../index.js";
import type { ExposeTarget } from "./expose-options.js";
import type { Link } from "./link.js";
import { MessagePortLink } from "./message-port-link.js";
import { ProcessLink } from "./process-link.js";
import type { Greeting } from "./protocol.js";

/** How a thread or process ended. */
export interface Exit {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly error: unknown;
}

/** What a peer tells of itself. */
export interface PeerListener {
  /** A client has connected. */
  link(link: Link): void;
  /** Its thread or process has ended; told once, last. */
  exited(exit: Exit): void;
}

/** The other side of an exposed broker: what it is, how its clients connect, and that it ends. */
export interface Peer {
  readonly worker: WorkerLostEvent["worker"];
  readonly threadId: number | undefined;
  readonly pid: number | undefined;
  /** True until `exited`; a port tells no more than its own end. */
  readonly isAwaited: boolean;
  /** True where another client may connect when one has gone. */
  readonly mayConnectAgain: boolean;
  start(listener: PeerListener): void;
  /** Listens no more. */
  stop(): void;
}

/** Finds out what a target is. */
export function peerOf(target: ExposeTarget): Peer {
  if (target instanceof Worker) return new ThreadPeer(target);
  if (target instanceof MessagePort) return linkPeer(new MessagePortLink(target));
  if ("process" in target) return new ProcessPeer(target.process);
  if (target instanceof ChildProcess) return new ProcessPeer(target);
  return linkPeer(new ProcessLink(target));
}

/** A worker thread: each of its clients asks for a port of its own, and what it dies of is known before it has ended. */
class ThreadPeer implements Peer {
  readonly worker = "thread";
  readonly threadId: number;
  readonly pid = undefined;
  readonly mayConnectAgain = true;
  isAwaited = true;
  readonly #thread: Worker;
  readonly #known = new Set<string>();
  #error: unknown = undefined;
  #listener: PeerListener | null = null;

  constructor(thread: Worker) {
    this.#thread = thread;
    this.threadId = thread.threadId;
  }

  start(listener: PeerListener): void {
    this.#listener = listener;
    this.#thread.on("message", this.#onMessage);
    this.#thread.on("error", this.#onError);
    this.#thread.on("exit", this.#onExit);
    const greeting: Greeting = { inprocBroker: "exposed" };
    this.#thread.postMessage(greeting);
  }

  stop(): void {
    this.#thread.off("message", this.#onMessage);
    this.#thread.off("error", this.#onError);
    this.#thread.off("exit", this.#onExit);
  }

  readonly #onMessage = (message: unknown): void => {
    const greeting = message as Partial<Greeting> | null;
    if (greeting?.inprocBroker !== "connect" || greeting.client === undefined) return;
    if (this.#known.has(greeting.client)) return;
    this.#known.add(greeting.client);
    const { port1, port2 } = new MessageChannel();
    this.#listener?.link(new MessagePortLink(port1));
    const answer: Greeting = { inprocBroker: "port", client: greeting.client, port: port2 };
    this.#thread.postMessage(answer, [port2]);
  };

  readonly #onError = (error: unknown): void => {
    this.#error = error;
  };

  readonly #onExit = (exitCode: number): void => {
    this.isAwaited = false;
    this.#listener?.exited({ exitCode, signal: undefined, error: this.#error });
  };
}

/** A child process: its one client speaks over the IPC channel, which the program uses too. */
class ProcessPeer implements Peer {
  readonly worker = "process";
  readonly threadId = undefined;
  readonly pid: number | undefined;
  readonly mayConnectAgain = false;
  isAwaited = true;
  readonly #child: ChildProcess;
  #listener: PeerListener | null = null;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid;
  }

  start(listener: PeerListener): void {
    this.#listener = listener;
    this.#child.on("exit", this.#onExit);
    listener.link(new ProcessLink(this.#child));
  }

  stop(): void {
    this.#child.off("exit", this.#onExit);
  }

  readonly #onExit = (exitCode: number | null, signal: string | null): void => {
    this.isAwaited = false;
    this.#listener?.exited({ exitCode: exitCode ?? undefined, signal: signal ?? undefined, error: undefined });
  };
}

/** Whoever has the other end of a port or channel. */
function linkPeer(link: Link): Peer {
  return {
    worker: "port",
    threadId: undefined,
    pid: undefined,
    isAwaited: false,
    mayConnectAgain: false,
    start: (listener) => listener.link(link),
    stop: () => undefined,
  };
}
