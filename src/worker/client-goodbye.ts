import type { ClientCalls } from "./client-calls.js";
import type { ClientDeadlines } from "./client-deadlines.js";
import type { ClientLink } from "./client-link.js";
import type { FrameWriter } from "./frame-writer.js";
import { ask } from "./protocol.js";
import type { RemoteSubscription } from "./remote-subscription.js";

/** What a client ends with. */
export interface GoodbyeHost {
  readonly link: ClientLink;
  readonly writer: FrameWriter;
  readonly calls: ClientCalls;
  readonly deadlines: ClientDeadlines;
  /** Resolves once the client is closed. */
  readonly over: Promise<void>;
}

/** Milliseconds to wait for the other side's goodbye; it may be gone, or hang. */
const goodbyeMs = 1_000;

/** Lets the subscriptions of a client finish what they have, and its calls, within a time. */
export async function finishWork(
  { link, calls, deadlines }: GoodbyeHost,
  subscriptions: readonly RemoteSubscription[],
  timeoutMs: number,
): Promise<void> {
  if (!link.isAttached) return;
  let cancel = (): void => undefined;
  const late = new Promise<void>((resolve) => {
    cancel = deadlines.after(timeoutMs, resolve, true);
  });
  const drained = Promise.all(subscriptions.map((subscription) => subscription.drain()));
  const finished = drained.then(() => calls.whenIdle()).catch(() => undefined);
  await Promise.race([finished, late]);
  cancel();
}

/** Waits until the broker's side has heard that the client goes: a thread that ended before would count as lost. */
export async function sayGoodbye({ link, writer, over }: GoodbyeHost): Promise<void> {
  if (!link.isAttached) return;
  const release = link.keepAlive();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, goodbyeMs);
  });
  writer.write([ask.close]);
  writer.flush();
  await Promise.race([over, late]);
  clearTimeout(timer);
  release();
}
