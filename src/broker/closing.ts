import { brokerError, quote } from "../errors.js";
import type { BrokerCore } from "./core.js";

/** Ends what is left once the queues are empty: waiters, timers, plugins, the store. Returns what failed at that. */
export async function endParts(core: BrokerCore, closed: Error, deadline: number): Promise<unknown[]> {
  core.abort.abort(closed);
  core.requests.failAll(closed);
  core.confirms.failAll(closed);
  core.deadLetters?.refuse("everything", closed);
  core.retained.clear();
  core.timers.close();
  const failures = await closePlugins(core, deadline);
  if (core.store !== null) await core.store.close(closed).catch((error: unknown) => failures.push(error));
  core.events.emit("closed");
  core.events.clear();
  return failures;
}

/** Closes every plugin, and returns what failed or was not done by the deadline. */
async function closePlugins({ settings, clock, loop }: BrokerCore, deadline: number): Promise<unknown[]> {
  const { plugins } = settings;
  if (plugins.length === 0) return [];
  const release = loop.hold();
  let stopTimer = (): void => undefined;
  const isOver = new Promise<"late">((resolve) => {
    stopTimer = clock.schedule(Math.max(0, deadline - clock.monotonic()), () => resolve("late"));
  });
  const closings = plugins.map(async (plugin) => {
    if ((await Promise.race([plugin.close?.(), isOver])) !== "late") return;
    throw brokerError("ERR_TIMEOUT", `plugin ${quote(plugin.name)} was not closed when the time of close was over`, {
      plugin: plugin.name,
    });
  });
  const results = await Promise.allSettled(closings);
  stopTimer();
  release();
  return results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
}
