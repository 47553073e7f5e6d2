import type { Broker, WorkerLostEvent } from "../index.js";

/**
 * Tells the broker that a worker is lost. What it died of is an `error` event where nobody hears that, since it would be lost otherwise.
 *
 * @param isHeard - somebody was told already: of the loss, or of the error
 */
export function tellWorkerLost(broker: Broker, event: WorkerLostEvent, isHeard: boolean): void {
  const isHeardThere = broker.reportWorkerLost?.(event) ?? false;
  if (isHeard || isHeardThere || event.error === undefined) return;
  broker.reportError?.(event.error, { during: "worker" });
}
